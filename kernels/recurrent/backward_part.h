// The backward pass of a recurrent layer over a part of a chunk, in the persistent schedule.
//
// Parts run from the last to the first. What goes from one to the next is what goes from a step to
// the step before it: the gradient dRh of the later one, which the earlier one multiplies by R^T,
// and the gradients of h and c that do not pass through R, those that zoneout keeps among them.
// Resets and lengths are the chunk's, and draws count its steps (RecurrentBackward::first_step):
// the earlier part draws again what recurrent dropout or a reset keeps from R in the first step of
// the later one. So parts give what the whole would.
#pragma once

#include "kernels/recurrent/recurrent.h"

namespace unroll {

struct BackwardCarry {
  View2 dRh_next{};  // [B,G*H]  act; in: dRh, or dWx of a cell that is not split, of the step after
                     //          the part; left out in the last part, which nothing follows
  View3 past_R;      // [2,B,H]  f32; in where something follows; out: gradients of h and of c
};

// One part, forward in time; its arrays are slices of those of the chunk. Throws a usage Error
// where the persistent schedule cannot run.
void recurrent_backward_part(const Exec& exec, const RecurrentBackward& args,
                             const BackwardCarry& carry);
// Parts of two layers, as recurrent_backward_pair: always in one launch.
void recurrent_backward_part_pair(const Exec& exec, const RecurrentBackward& first,
                                  const BackwardCarry& first_carry, const RecurrentBackward& second,
                                  const BackwardCarry& second_carry);

namespace cuda {
// `count` of 1 or 2 parts at once.
void persistent_backward_parts(const Exec& exec, const RecurrentBackward* passes,
                               const BackwardCarry* carries, int count);
}  // namespace cuda

}  // namespace unroll
