// Dropout with inverted scaling: y = x m / (1 - p), m ~ Bernoulli(1 - p).
//
//   standard   m[T,B,D], fresh at every step              Srivastava et al. 2014, Zaremba et al. 2014
//   locked     m[1,B,D], one mask per chunk, same at all t  Gal & Ghahramani 2016
//
// m is a pure function of (seed, mask step, op, element) by Philox (kernels/base/philox.h): the
// backward pass draws it again, nothing is saved, and CPU and GPU agree bit for bit. Element e = (t
// B + b) D + d, or b D + d when locked; word e mod 4 of block e / 4 keeps the element if it is >=
// dropout_threshold(p).
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

// Names a mask. `counter` lies in the step inputs, so a replayed graph draws new masks.
struct MaskKey {
  View1 counter;    // [2] u64: seed, mask step
  uint32_t op = 0;  // distinct for every mask of a step
};

// An element is dropped when its word is below this: p 2^32, rounded.
constexpr uint32_t dropout_threshold(double p) {
  return p >= 1 ? 0xffffffffu : uint32_t(p * 4294967296.0 + 0.5);
}

struct Dropout {
  View3 y;       // [T,B,D]  act: f32, f64, bf16
  View3 x;       // [T,B,D]  act; may be the same as y
  double p = 0;  // 0 <= p < 1
  bool locked = false;
  MaskKey key;
  Accumulate to_y = Accumulate::overwrite;
};
// Forward: x in, y out. Backward is the same map with x = dy and y = dx.
void dropout(const Exec& exec, const Dropout& args);

namespace cpu {
void dropout(const Exec& exec, const Dropout& args);
}
namespace cuda {
void dropout(const Exec& exec, const Dropout& args);
}

}  // namespace unroll
