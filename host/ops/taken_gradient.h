// For output layers, which take dx in the forward pass: hands it on in the backward pass.
#pragma once

#include "host/tape/tape.h"
#include "kernels/elementwise/add.h"

namespace unroll {

// Records that `dx` is what op `op` contributes to the gradient of x.
inline void record_taken_gradient(Tape& tape, const char* op, const Var& x, const Tensor& dx) {
  tape.record(op, [dx, slot = x.slot()](Tape& t) {
    if (!slot->gradient) {
      slot->gradient = dx;
      return;
    }
    const GradientSink<2> sink = t.gradient_sink(slot);
    add_scaled(t.exec(), {.y = sink.view, .x = dx.matrix(), .to_y = sink.mode});
  });
}

}  // namespace unroll
