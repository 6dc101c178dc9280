// How a pass over the slab of weights is cut: pieces of one weight each, listed in a table that is
// built once. A piece knows its clip group, and where its rows lie in the bf16 shadow, so that no
// pass needs a launch per weight.
#pragma once

#include "kernels/base/dtype.h"
#include "kernels/base/host_device.h"

namespace unroll {

constexpr int64_t kPieceEntries =
    16384;  // of a piece at most; all but a weight's last have as many

struct SlabPiece {
  uint64_t offset;    // in the slab of the first entry; a multiple of 8
  uint64_t gradient;  // in g of the first entry, a multiple of 8; or kInRows
  uint64_t shadow;    // in the shadow, of the row that the first entry lies in
  uint32_t count;     // entries
  uint32_t group;     // clip group
  uint32_t columns;   // of the weight; 0: a vector, which has no shadow
  uint32_t column;    // of the first entry
};
constexpr uint64_t kInRows = ~uint64_t(0);  // the weight's gradient is kept by rows, not in g
constexpr int kPieceWords = 5;              // a table is [P,kPieceWords] u64
static_assert(sizeof(SlabPiece) == kPieceWords * sizeof(uint64_t));

// Rows of the shadow start at multiples of 16 bytes.
GPU_HD int64_t shadow_stride(int64_t columns) { return (columns + 7) / 8 * 8; }

}  // namespace unroll
