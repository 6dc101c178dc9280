#include "host/ops/embedding.h"

#include "kernels/embedding/embedding.h"
#include "kernels/regularize/row_dropout.h"

namespace unroll {

Var embedding(Tape& tape, Param E, const View1& ids, int T, int B, double p) {
  const View2 table = tape.params().weight(E);
  Var x = tape.var(tape.tensor(tape.act(), {T, B, table.n[1]}));
  embedding_forward(tape.exec(), {.y = x.matrix(), .E = table, .ids = ids});
  const bool drop = tape.mode().noise && p > 0;
  const MaskKey key = drop ? tape.next_mask_key() : MaskKey{};
  const auto drop_rows = [=](Tape& t, const View2& rows) {
    if (drop) row_dropout(t.exec(), {.y = rows, .x = rows, .ids = ids, .p = p, .key = key});
  };
  drop_rows(tape, x.matrix());
  tape.record("embedding", [=, N = T * B, V = int(table.n[0]), dx = x.slot()](Tape& t) {
    drop_rows(t, t.gradient(dx).matrix());
    Tensor holder;
    const Scratch scratch = t.scratch(holder, embedding_scratch_bytes(t.exec(), N, V));
    const GradientSink<2> dE = t.gradient_sink(E);
    embedding_backward(t.exec(), {.dE = dE.view,
                                  .to_dE = dE.mode,
                                  .dy = t.gradient(dx).matrix(),
                                  .ids = ids,
                                  .scratch = scratch});
  });
  return x;
}

}  // namespace unroll
