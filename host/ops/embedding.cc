#include "host/ops/embedding.h"

#include "host/ops/row_terms.h"
#include "kernels/regularize/gaussian_noise.h"
#include "kernels/regularize/row_dropout.h"

namespace unroll {

Var embedding(Tape& tape, Param E, const View1& ids, int T, int B, double p, double noise) {
  const View2 table = tape.params().weight(E);
  Var x = tape.var(tape.tensor(tape.act(), {T, B, table.n[1]}));
  embedding_forward(tape.exec(), {.y = x.matrix(), .E = table, .ids = ids});
  // Not in noisy passes that are averaged: there all words are fed.
  const bool training = tape.mode().record && tape.mode().noise, drop = training && p > 0;
  const MaskKey key = drop ? tape.next_mask_key() : MaskKey{};
  const auto drop_rows = [=](Tape& t, const View2& rows) {
    if (drop) row_dropout(t.exec(), {.y = rows, .x = rows, .ids = ids, .p = p, .key = key});
  };
  drop_rows(tape, x.matrix());
  if (training && noise > 0)
    gaussian_noise(
        tape.exec(),
        {.y = x.matrix(), .x = x.matrix(), .deviation = noise, .key = tape.next_mask_key()});
  tape.record("embedding", [=, dx = x.slot()](Tape& t) {
    const View2 dy = t.gradient(dx).matrix();
    drop_rows(t, dy);
    add_row_terms(t, E, dy, ids);
  });
  return x;
}

}  // namespace unroll
