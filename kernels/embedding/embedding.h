// Rows of a table: y[n] = E[ids[n]], and the gradient dE[v] = sum over n with ids[n] = v of dy[n].
//
// The gradient is deterministic, and the same bits on every device and for any number of threads:
// positions are sorted by id (stable); the terms of a word, in the order of n, are added in groups
// of kTermGroup, then the sums of its groups in their order, all in acc. The groups of a frequent
// word are summed side by side. A negative id is padding: it gives a zero row and takes no
// gradient. An id >= V is undefined; the corpus guarantees it does not occur.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/row_gradient.h"
#include "kernels/base/view.h"

namespace unroll {

constexpr int kTermGroup = 32;

struct EmbeddingForward {
  View2 y;    // [N,D]  act: f32, f64, bf16
  View2 E;    // [V,D]  act
  View1 ids;  // [N]    i32
};
void embedding_forward(const Exec& exec, const EmbeddingForward& args);

struct EmbeddingBackward {
  View2 dE;  // [V,D]  acc; with overwrite, rows without a term become 0
  Accumulate to_dE = Accumulate::overwrite;
  View2 dy;          // [N,D]  act
  View1 ids;         // [n]    i32, of the first rows of dy
  View1 more_ids{};  // [N-n]  i32, of the others; may be left out where there are none
  Scratch scratch;   // embedding_scratch_bytes
};
void embedding_backward(const Exec& exec, const EmbeddingBackward& args);

// The same sums as rows by word, of which there are at most N: nothing is as large as the table.
struct EmbeddingRowsBackward {
  RowGradient dE;    // [N,D]  acc; out; unused rows are left as they are
  int64_t V = 0;     // words of the table
  View2 dy;          // [N,D]  act
  View1 ids;         // [n]    i32, of the first rows of dy
  View1 more_ids{};  // [N-n]  i32, of the others; may be left out where there are none
  Scratch scratch;   // embedding_scratch_bytes
};
void embedding_rows_backward(const Exec& exec, const EmbeddingRowsBackward& args);

// Of both gradients.
size_t embedding_scratch_bytes(const Exec& exec, DType act, int N, int64_t D);

namespace cpu {
void embedding_forward(const Exec& exec, const EmbeddingForward& args);
void embedding_backward(const Exec& exec, const EmbeddingBackward& args);
void embedding_rows_backward(const Exec& exec, const EmbeddingRowsBackward& args);
}  // namespace cpu
namespace cuda {
void embedding_forward(const Exec& exec, const EmbeddingForward& args);
void embedding_backward(const Exec& exec, const EmbeddingBackward& args);
void embedding_rows_backward(const Exec& exec, const EmbeddingRowsBackward& args);
}  // namespace cuda

}  // namespace unroll
