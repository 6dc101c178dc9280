// One update of all weights in one pass over the slab: clipped gradient, slots, weights, and the
// bf16 shadow that ops read. Equations of the rules: kernels/update/rules.h.
//
//   theta, slots <- rule(theta, factor_G g, slots)      shadow <- bf16(theta)
//
// Weight decay is added after clipping. Rates and factors are read on the device, from `clip`;
// where the norm was not finite nothing is changed. ASGD leaves the mean alone, and does not read
// it, in a step that is not averaged.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/update/pieces.h"
#include "kernels/update/step_scales.h"

namespace unroll {

enum class UpdateRule : uint8_t { sgd, momentum, asgd, adagrad, rmsprop, adam, adamw };

// Arrays as long as the slab that a rule keeps.
constexpr int slots_of(UpdateRule rule) {
  return rule == UpdateRule::sgd                                 ? 0
         : rule == UpdateRule::adam || rule == UpdateRule::adamw ? 2
                                                                 : 1;
}

// Whether a rule leaves a weight without a gradient, and the rule's slots of it, as they are: an
// update of the others alone is then the same update, bit for bit. Decay moves every weight. Without
// it:
//
//   sgd, adagrad    yes: nothing is added
//   momentum        no: the velocity shrinks, and the weight goes on with it
//   asgd            no: the mean follows the weight
//   rmsprop         no: the mean of squares shrinks
//   adam, adamw     no: both moments shrink, and the weight goes on with the first
constexpr bool leaves_untouched(UpdateRule rule, double decay) {
  return decay == 0 && (rule == UpdateRule::sgd || rule == UpdateRule::adagrad);
}

struct UpdateConstants {
  double decay = 0;                   // weight decay
  double momentum = 0;                // momentum
  bool nesterov = false;              // momentum
  double beta1 = 0.9, beta2 = 0.999;  // Adam; RMSprop's alpha is beta2
  double eps = 1e-8;                  // Adam, RMSprop, Adagrad
};

// No piece says kInRows: see update_rows.h for those.
struct Update {
  UpdateRule rule = UpdateRule::sgd;
  UpdateConstants constants{};
  View1 theta;     // [n]  f32 or f64; in and out
  View1 a{}, b{};  // [n]  as theta: the rule's slots, as many as it has; in and out
  View1 g;         // [m]  as theta
  View1 shadow{};  // [m]  bf16, rows shadow_stride(columns) apart; left out: there is none
  View2 pieces;    // [P,kPieceWords]  u64: SlabPiece
  View1 scales;    // [kUpdateScales+G]  f64, from clip
};
void update(const Exec& exec, const Update& args);

namespace cpu {
void update(const Exec& exec, const Update& args);
}
namespace cuda {
void update(const Exec& exec, const Update& args);
}

}  // namespace unroll
