// x = E[ids]: [T,B] token ids to [T,B,E] vectors; the gradient adds rows of E. See
// kernels/embedding.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

Var embedding(Tape& tape, Param E, const View1& ids, int T, int B);

}  // namespace unroll
