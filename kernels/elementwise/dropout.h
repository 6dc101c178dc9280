// Dropout with inverted scaling: y = x m / (1 - p), m ~ Bernoulli(1 - p).
//
//   standard   m[T,B,D], fresh at every step              Srivastava et al. 2014, Zaremba et al. 2014
//   locked     m[1,B,D], one mask per chunk, same at all t  Gal & Ghahramani 2016
//
// m is drawn as kernels/base/mask_key.h says: element e = (t B + b) D + d, or b D + d when locked;
// word e mod 4 of block e / 4 keeps the element if it is >= dropout_threshold(p). Where x is a part
// of a sequence, t counts from the sequence's first step, so parts draw what the whole would.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/mask_key.h"
#include "kernels/base/view.h"

namespace unroll {

struct Dropout {
  View3 y;       // [T,B,D]  act: f32, f64, bf16
  View3 x;       // [T,B,D]  act; may be the same as y
  double p = 0;  // 0 <= p < 1
  bool locked = false;
  MaskKey key;
  int64_t first_step = 0;  // t of x[0]
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
