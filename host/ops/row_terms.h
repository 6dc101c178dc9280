// For ops that read single rows of a matrix: the gradient is a sum of rows by word.
#pragma once

#include "host/tape/tape.h"
#include "kernels/embedding/embedding.h"

namespace unroll {

// Adds row n of dy [N,D] to the gradient of row ids[n] of W; the last rows of dy are of more_ids.
// Where ParamStore::in_rows(W), it is given by rows, see Tape::give_row_gradient.
inline void add_row_terms(Tape& t, Param W, const View2& dy, const View1& ids,
                          const View1& more_ids = {}) {
  const int64_t N = dy.n[0], D = dy.n[1];
  Tensor holder;
  const Scratch scratch = t.scratch(holder, embedding_scratch_bytes(t.exec(), dy.dtype, int(N), D));
  if (t.params().in_rows(W)) {
    const Tensor words = t.tensor(DType::u32, {N}), rows = t.tensor(t.acc(), {N, D});
    embedding_rows_backward(t.exec(), {.dE = {words.view<1>(), rows.matrix()},
                                       .V = t.params().weight(W).n[0],
                                       .dy = dy,
                                       .ids = ids,
                                       .more_ids = more_ids,
                                       .scratch = scratch});
    return t.give_row_gradient(W, words, rows);
  }
  const GradientSink<2> dW = t.gradient_sink(W);
  embedding_backward(t.exec(), {.dE = dW.view,
                                .to_dE = dW.mode,
                                .dy = dy,
                                .ids = ids,
                                .more_ids = more_ids,
                                .scratch = scratch});
}

}  // namespace unroll
