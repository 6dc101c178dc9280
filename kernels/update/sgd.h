// Stochastic gradient descent over the whole slab, the clip factor read on the device.
//
//   g' = min(1, clip/|g|) g + decay theta       theta <- theta - lr g'
//
// Weight decay is added after clipping. If |g| is not finite nothing is changed.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/update/update.h"

namespace unroll {

struct Sgd {
  View1 theta;   // [n]  f32 or f64; in and out
  View1 g;       // [n]  as theta
  View1 norm2;   // [1]  f64, from global_norm
  View1 inputs;  // [kUpdateInputs]  f64: UpdateInputs
  double decay = 0;
};
void sgd(const Exec& exec, const Sgd& args);

namespace cpu {
void sgd(const Exec& exec, const Sgd& args);
}
namespace cuda {
void sgd(const Exec& exec, const Sgd& args);
}

}  // namespace unroll
