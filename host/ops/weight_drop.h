// A recurrent matrix under weight drop for one chunk: its bits, what the passes over the layer read,
// and the way its gradient takes back. See kernels/regularize/weight_drop.h.
#pragma once

#include "host/tape/tape.h"
#include "kernels/recurrent/weight_mask.h"

namespace unroll {

// The matrix that a layer reads: R itself, where the passes mask it as they load it, or its masked
// copy.
struct DroppedWeight {
  View2 R;  // [GH,H]  act
  Tensor copy, bits;
  double p = 0;

  // What passes mask R by: nothing where R is the copy.
  WeightMask mask() const { return bits && !copy ? WeightMask{bits.matrix(), p} : WeightMask{}; }
  // What the way back needs.
  DroppedWeight without_copy() const { return {.R = R, .copy = {}, .bits = bits, .p = p}; }
};

// R itself, without any work, where the tape has no noise or p is 0. `masked_by_passes`: the passes
// take the mask (takes_mask), and only its bits are made.
DroppedWeight weight_drop(Tape& tape, Param R, double p, bool masked_by_passes);

// Calls `write` with where and how to write the gradient of the matrix that the layer read, and
// turns that into the gradient of R.
void weight_drop_gradient(Tape& tape, Param R, const DroppedWeight& weight,
                          const std::function<void(const GradientSink<2>&)>& write);

}  // namespace unroll
