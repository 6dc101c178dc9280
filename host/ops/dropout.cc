#include "host/ops/dropout.h"

#include "kernels/elementwise/dropout.h"

namespace unroll {

Var dropout(Tape& tape, const Var& x, double p, bool locked) {
  if (!tape.mode().noise || p == 0) return x;
  Var y = tape.var(x.value().like(tape.arena()));
  const MaskKey key = tape.next_mask_key();
  unroll::dropout(tape.exec(),
                  {.y = y.sequence(), .x = x.sequence(), .p = p, .locked = locked, .key = key});
  tape.record("dropout", [dx = x.slot(), dy = y.slot(), p, locked, key](Tape& t) {
    const GradientSink<2> sink = t.gradient_sink(dx);
    if (!sink.view) return;
    unroll::dropout(t.exec(), {.y = t.gradient(dx).view<3>(),
                               .x = t.gradient(dy).view<3>(),
                               .p = p,
                               .locked = locked,
                               .key = key,
                               .to_y = sink.mode});
  });
  return y;
}

}  // namespace unroll
