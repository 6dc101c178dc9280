// x = E[ids]: [T,B] token ids to [T,B,E] vectors; the gradient adds rows of E: kernels/embedding. In
// training alone, where the tape records and has noise: with p above 0 whole rows of E are dropped
// for the chunk and the others scaled (kernels/regularize/row_dropout.h), and with `noise` above 0
// normal noise of that deviation is added to what was looked up (gaussian_noise.h).
//
// Where ParamStore::in_rows(E), the gradient is given by rows, see Tape::give_row_gradient.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

Var embedding(Tape& tape, Param E, const View1& ids, int T, int B, double p = 0, double noise = 0);

}  // namespace unroll
