#include "host/ops/embedding.h"

#include "kernels/embedding/embedding.h"
#include "kernels/regularize/gaussian_noise.h"
#include "kernels/regularize/row_dropout.h"

namespace unroll {

Var embedding(Tape& tape, Param E, const View1& ids, int T, int B, double p, double noise) {
  const View2 table = tape.params().weight(E);
  Var x = tape.var(tape.tensor(tape.act(), {T, B, table.n[1]}));
  embedding_forward(tape.exec(), {.y = x.matrix(), .E = table, .ids = ids});
  const bool drop = tape.mode().noise && p > 0;
  const MaskKey key = drop ? tape.next_mask_key() : MaskKey{};
  const auto drop_rows = [=](Tape& t, const View2& rows) {
    if (drop) row_dropout(t.exec(), {.y = rows, .x = rows, .ids = ids, .p = p, .key = key});
  };
  drop_rows(tape, x.matrix());
  if (tape.mode().record && tape.mode().noise && noise > 0)
    gaussian_noise(
        tape.exec(),
        {.y = x.matrix(), .x = x.matrix(), .deviation = noise, .key = tape.next_mask_key()});
  tape.record("embedding", [=, N = T * B, V = table.n[0], dx = x.slot()](Tape& t) {
    drop_rows(t, t.gradient(dx).matrix());
    Tensor holder;
    const View2 dy = t.gradient(dx).matrix();
    const Scratch scratch =
        t.scratch(holder, embedding_scratch_bytes(t.exec(), t.act(), N, dy.n[1]));
    if (t.params().row_param().index == E.index) {
      const Tensor words = t.tensor(DType::u32, {N}), rows = t.tensor(t.acc(), {N, dy.n[1]});
      embedding_rows_backward(t.exec(), {.dE = {words.view<1>(), rows.matrix()},
                                         .V = V,
                                         .dy = dy,
                                         .ids = ids,
                                         .scratch = scratch});
      return t.give_row_gradient(E, words, rows);
    }
    const GradientSink<2> dE = t.gradient_sink(E);
    embedding_backward(t.exec(),
                       {.dE = dE.view, .to_dE = dE.mode, .dy = dy, .ids = ids, .scratch = scratch});
  });
  return x;
}

}  // namespace unroll
