// Rows of a table: y[n] = E[ids[n]], and the gradient dE[v] = sum over n with ids[n] = v of dy[n].
//
// The gradient is deterministic: positions are sorted by id (stable), each row's terms are added in
// the order of n, in acc. A negative id is padding: it gives a zero row and takes no gradient. An
// id >= V is undefined; the corpus guarantees it does not occur.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct EmbeddingForward {
  View2 y;    // [N,D]  act: f32, f64, bf16
  View2 E;    // [V,D]  act
  View1 ids;  // [N]    i32
};
void embedding_forward(const Exec& exec, const EmbeddingForward& args);

struct EmbeddingBackward {
  View2 dE;  // [V,D]  acc; with overwrite, rows without a term become 0
  Accumulate to_dE = Accumulate::overwrite;
  View2 dy;         // [N,D]  act
  View1 ids;        // [N]    i32
  Scratch scratch;  // embedding_scratch_bytes
};
void embedding_backward(const Exec& exec, const EmbeddingBackward& args);
size_t embedding_scratch_bytes(const Exec& exec, int N, int V);

namespace cpu {
void embedding_forward(const Exec& exec, const EmbeddingForward& args);
void embedding_backward(const Exec& exec, const EmbeddingBackward& args);
}  // namespace cpu
namespace cuda {
void embedding_forward(const Exec& exec, const EmbeddingForward& args);
void embedding_backward(const Exec& exec, const EmbeddingBackward& args);
size_t embedding_scratch_bytes(int N, int V);
}  // namespace cuda

}  // namespace unroll
