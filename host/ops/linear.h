// y = x W^T + b on every row of a sequence, and y = a + b of two sequences.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

// x [T,B,I], W [O,I], b [O] or no parameter; y [T,B,O].
Var linear(Tape& tape, const Var& x, Param W, Param b = {});

// Element by element; the shapes have to be equal.
Var add(Tape& tape, const Var& a, const Var& b);

}  // namespace unroll
