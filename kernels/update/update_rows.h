// One update of the rows of a weight that have a gradient, for a rule that leaves the others as
// they are (leaves_untouched in update.h). It is `update` on those rows, with the same scales.
//
//   theta_w, slots_w <- rule(theta_w, factor_G g_w, slots_w)      shadow_w <- bf16(theta_w)
#pragma once

#include "kernels/base/row_gradient.h"
#include "kernels/update/update.h"

namespace unroll {

struct UpdateRows {
  UpdateRule rule = UpdateRule::sgd;  // sgd or adagrad
  UpdateConstants constants{};        // decay 0
  View2 theta;                        // [V,D]  f32 or f64; in and out
  View2 a{};                          // [V,D]  as theta: Adagrad's slot; in and out
  View2 shadow{};                     // [V,D]  bf16; left out: there is none
  RowGradient g;                      // [N,D]  as theta
  View1 scales;                       // [kUpdateScales+G]  f64, from clip
  int64_t group = 0;                  // clip group of the weight
};
void update_rows(const Exec& exec, const UpdateRows& args);

namespace cpu {
void update_rows(const Exec& exec, const UpdateRows& args);
}
namespace cuda {
void update_rows(const Exec& exec, const UpdateRows& args);
}

}  // namespace unroll
