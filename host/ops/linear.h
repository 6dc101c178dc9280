// y = x W^T + b on every row of a sequence, and y = a + b of two sequences.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

// x [T,B,I], W [O,I], b [O] or no parameter; y [T,B,O].
Var linear(Tape& tape, const Var& x, Param W, Param b = {});

// Of y = x W^T + b, matrices of rows: dW = dy^T x and db, the sum of the rows of dy.
void add_linear_gradients(Tape& tape, const View2& dy, const View2& x, Param W, Param b = {});

// Element by element; the shapes have to be equal.
Var add(Tape& tape, const Var& a, const Var& b);

}  // namespace unroll
