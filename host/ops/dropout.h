// Dropout of a sequence [T,B,D], standard or locked over time; the value itself where the tape has
// no noise or p is 0. See kernels/elementwise/dropout.h.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

Var dropout(Tape& tape, const Var& x, double p, bool locked);

}  // namespace unroll
