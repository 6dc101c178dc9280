// A pass over the slab of weights: every block takes kBlockEntries of a piece, every thread strips
// of kPieceStrip entries.
#pragma once

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/exec.h"
#include "kernels/base/gpu.h"
#include "kernels/update/pieces.h"

namespace unroll::cuda {

constexpr int kPieceThreads = 256;
constexpr int kPieceStrip = 4;  // 16 bytes: a warp's access is of whole sectors
constexpr int kBlockEntries = 4 * kPieceThreads * kPieceStrip;
constexpr int kPieceBlocks = int(kPieceEntries / kBlockEntries);

inline gpu::Launch piece_launch(int64_t pieces) {
  gpu::Launch shape;
  shape.grid.x = unsigned(pieces * kPieceBlocks);
  shape.block.x = kPieceThreads;
  return shape;
}

// f(piece, j, Width<W>) for entries j .. j+W-1 of the piece, j from its first entry.
template <class F>
GPU_DEVICE void for_each_piece_strip(const SlabPiece* pieces, F f) {
  const SlabPiece piece = pieces[blockIdx.x / kPieceBlocks];
  const int64_t first = int64_t(blockIdx.x % kPieceBlocks) * kBlockEntries;
  if (first >= piece.count) return;
  const int64_t rest = piece.count - first;
  for_each_strip<kPieceStrip>(rest < kBlockEntries ? rest : int64_t(kBlockEntries),
                              int(threadIdx.x), kPieceThreads,
                              [&](int64_t j, auto width) { f(piece, first + j, width); });
}

// Entries j .. j+W-1 of a piece as bf16. Where the columns are a multiple of a strip it lies in one
// row; else it may go on in the next.
template <int W>
GPU_DEVICE void store_shadow(bf16* shadow, const SlabPiece& piece, int64_t j,
                             const float (&theta)[W]) {
  if (!shadow || piece.columns == 0) return;
  const uint32_t columns = piece.columns, at = piece.column + uint32_t(j);
  const uint32_t row = at / columns;
  uint32_t column = at - row * columns;
  const int64_t stride = shadow_stride(columns);
  bf16* to = shadow + piece.shadow + row * stride + column;
  if constexpr (W == kPieceStrip) {
    if (columns % kPieceStrip == 0) return store_from_float<W>(to, theta);
    if (columns % 2 == 0) {
#pragma unroll
      for (int k = 0; k < W; k += 2) {
        gpu::Vec<bf16, 2> pair;
        pair[0] = bf16(theta[k]);
        pair[1] = bf16(theta[k + 1]);
        gpu::store_vec(to, pair);
        to += 2;
        if ((column += 2) == columns) {
          column = 0;
          to += stride - columns;
        }
      }
      return;
    }
  }
#pragma unroll
  for (int k = 0; k < W; ++k) {
    *to++ = bf16(theta[k]);
    if (++column == columns) {
      column = 0;
      to += stride - columns;
    }
  }
}

}  // namespace unroll::cuda
