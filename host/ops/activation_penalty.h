// Activation regularisation of a sequence [T,B,D]: adds to its gradient, and so to the objective,
// but to no loss that is reported. See kernels/regularize/activation_penalty.h.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

// ar mean(y^2) + tar mean((y_t - y_{t-1})^2), each element weighted as its token in `weight` [T*B].
// Nothing where the tape has no noise or records nothing: it is a regulariser of training.
void activation_penalty(Tape& tape, const Var& y, const View1& weight, double ar, double tar);

}  // namespace unroll
