// How linear_softmax_xent divides its work so that its scratch fits a budget.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/base/exec.h"

namespace unroll {

struct XentPlan {
  int64_t rows = 0;     // tokens of a chunk
  int64_t columns = 0;  // words of a piece; V: the vocabulary is not cut
  bool keep = false;    // the logits of a chunk stand in the scratch from softmax to products
  int slices = 1;       // CPU: shares of the vocabulary that threads work on side by side
  size_t bytes = 0;     // of scratch

  int64_t pieces(int64_t V) const { return (V + columns - 1) / columns; }
};

// The plan of the same work for `budget` = the bytes of a plan is that plan.
XentPlan plan_xent(const Exec& exec, DType act, int64_t N, int64_t D, int64_t V, bool gradients,
                   size_t budget);

// CPU: tokens of a block within a chunk, and elements between a piece's rows beyond its columns:
// rows a power of two apart would share their place in the caches.
constexpr int64_t kXentBlock = 192;
constexpr int64_t kXentPad = 16;

// Every part of the scratch starts on a line of the caches.
constexpr size_t xent_part(size_t bytes) { return (bytes + 63) / 64 * 64; }
// Elements from one row of CUDA's logits to the next: odd V stays aligned for 16-byte accesses.
constexpr int64_t xent_stride(int64_t columns) { return (columns + 7) / 8 * 8; }

}  // namespace unroll
