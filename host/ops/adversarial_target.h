// By how much the target's logit of every row is lowered in training: kernels/heads/
// adversarial_target.h.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

// [N]  acc; empty where eps is 0 and outside training, that is where the tape does not record or
// has no noise: evaluation and dynamic evaluation see the model as it is.
Tensor adversarial_shift(Tape& tape, const Var& x, Param W, const View1& target, double eps);

}  // namespace unroll
