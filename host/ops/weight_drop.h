// A recurrent matrix under weight drop for one chunk: the masked copy that the steps read, and the
// way its gradient takes back. See kernels/regularize/weight_drop.h.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

// The matrix that a layer reads: R itself, or its masked copy with the bits it was made by.
struct DroppedWeight {
  View2 R;  // [GH,H]  act
  Tensor copy, bits;
  double p = 0;

  // What the way back needs.
  DroppedWeight mask() const { return {.R = R, .copy = {}, .bits = bits, .p = p}; }
};

// R itself, without any work, where the tape has no noise or p is 0.
DroppedWeight weight_drop(Tape& tape, Param R, double p);

// Calls `write` with where and how to write the gradient of the matrix that the layer read, and
// turns that into the gradient of R.
void weight_drop_gradient(Tape& tape, Param R, const DroppedWeight& weight,
                          const std::function<void(const GradientSink<2>&)>& write);

}  // namespace unroll
