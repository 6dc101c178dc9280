#include "host/ops/activation_penalty.h"

#include "kernels/regularize/activation_penalty.h"

namespace unroll {

void activation_penalty(Tape& tape, const Var& y, const View1& weight, double ar, double tar) {
  if (!tape.mode().noise || (ar == 0 && tar == 0)) return;
  tape.record("activation_penalty", [y = y.value(), dy = y.slot(), weight, ar, tar](Tape& t) {
    const GradientSink<2> sink = t.gradient_sink(dy);
    activation_penalty_backward(t.exec(), {.dy = t.gradient(dy).view<3>(),
                                           .y = y.view<3>(),
                                           .weight = weight,
                                           .ar = ar,
                                           .tar = tar,
                                           .to_dy = sink.mode});
  });
}

}  // namespace unroll
