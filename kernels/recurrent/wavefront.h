// Two neighbouring layers of a stack as a wavefront: T is cut into parts, and while the lower layer
// runs one part of time the upper layer runs the part before it, in one launch of the persistent
// schedule (recurrent_forward_pair), each on half of the device. Backward runs the same parts the
// other way (backward_part.h).
//
//   launch      0       1        2       ...    P-1       P
//   lower     n + r     n        n               n                 T = P n + r,  0 <= r < P
//   upper               n        n               n      n + r      steps
//
// The two parts of a launch are equally long, so the rest r is with the parts that run alone, on
// the whole device. Between launches stands what leads from layer to layer: dropout of the part and
// its product with W; forward a residual sum too, and the masks of what R multiplies in the first
// step of a part. So a wavefront saves steps, and pays in launches and in slower steps, each way:
//
//   in order     2 (T s_1 + launch) + between
//   wavefront    2 (n + r) s_1 + (P - 1) n s_2 + (P + 1) launch + P between
//
// s_1, s_2: a step on the whole device and on half of it. A model, not a measurement, as planner.h.
#pragma once

#include <string>

#include "kernels/base/exec.h"
#include "kernels/recurrent/planner.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

enum class Wavefront : uint8_t { automatic, on, off };

// As in --wavefront: auto, on, off.
const char* name_of(Wavefront wavefront);
// Throws a usage Error that lists the known names.
Wavefront wavefront_of(const std::string& name);

// Some steps in a row.
struct Steps {
  int64_t first, count;
};
// The part k of P of T steps: as above.
Steps lower_part(int64_t T, int64_t P, int64_t k);
Steps upper_part(int64_t T, int64_t P, int64_t k);

// Microseconds of both passes over two layers of this shape, without the products of the lower one
// and those of gradients of weights: in `parts` parts, or for 1 in order. `more_kernels`: of a part,
// besides dropout and the product. Infinite where the layers do not fit.
double predict_wavefront(const RecurrentShape& shape, int64_t parts,
                         const DeviceFigures& device = {}, int more_kernels = 0);

struct WavefrontChoice {
  int64_t parts = 1;   // 1: one layer after the other
  std::string reason;  // in a phrase for the log
};

struct WavefrontTask {
  Wavefront asked = Wavefront::automatic;
  Schedule schedule = Schedule::automatic;  // that was asked for
  Cell cell;
  DType act;
  int64_t T, B, H_lower, H_upper;
  std::string obstacle;  // of the caller, in words that complete "it cannot run: "; or empty
  int more_kernels = 0;  // as in predict_wavefront
};
// For Wavefront::automatic the number of parts that is predicted to be fastest. Throws a usage
// Error that says why where it was asked for and cannot run. Layers of different widths are never
// a wavefront.
WavefrontChoice choose_wavefront(const Exec& exec, const WavefrontTask& task);

}  // namespace unroll
