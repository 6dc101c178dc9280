// Adam over the whole slab, the clip factor and the step number read on the device.
//
//   g' = min(1, clip/|g|) g + decay theta
//   m <- beta1 m + (1 - beta1) g'       v <- beta2 v + (1 - beta2) g'^2
//   theta <- theta - lr (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps)
//
// Kingma & Ba 2015, algorithm 1; k is UpdateInputs::step. If |g| is not finite nothing is changed.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/update/update.h"

namespace unroll {

struct Adam {
  View1 theta;   // [n]  f32 or f64; in and out
  View1 m, v;    // [n]  as theta; in and out
  View1 g;       // [n]  as theta
  View1 norm2;   // [1]  f64, from global_norm
  View1 inputs;  // [kUpdateInputs]  f64: UpdateInputs
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8, decay = 0;
};
void adam(const Exec& exec, const Adam& args);

namespace cpu {
void adam(const Exec& exec, const Adam& args);
}
namespace cuda {
void adam(const Exec& exec, const Adam& args);
}

}  // namespace unroll
