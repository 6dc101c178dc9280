// Two neighbouring layers of a stack, equally wide, as a wavefront: kernels/recurrent/wavefront.h.
//
//   y = RNN_l(x) [+ x]     x_{l+1} = D_h(y)     the result is RNN_{l+1}(x_{l+1})
//
// The same masks as one layer after the other, and the same results to rounding: what differs is
// how many rows a product has at a time, and how the persistent schedule divides a layer.
#pragma once

#include "host/ops/recurrent_layer.h"

namespace unroll {

struct WavefrontLayers {
  Cell cell;
  RecurrentParams lower, upper;  // of one H
  double dropout = 0;            // between them
  bool residual = false;         // the sum after the lower one, whose input is then H wide as well
  LayerOptions options;          // the schedule is the persistent one
  int64_t parts = 2;             // 2..T
};
struct WavefrontResult {
  Var y;        // [T,B,H]
  Var x_upper;  // [T,B,H]  x_{l+1}, for the caller's residual sum after the upper layer
};

// x [T,B,I]. keep [B] and lengths [B] are i32 on the device; lengths may be left out. Throws a
// usage Error where the persistent schedule cannot run a layer.
WavefrontResult recurrent_wavefront(Tape& tape, const WavefrontLayers& layers, const Var& x,
                                    const LayerState& lower_state, const LayerState& upper_state,
                                    const View1& keep, const View1& lengths = {});

}  // namespace unroll
