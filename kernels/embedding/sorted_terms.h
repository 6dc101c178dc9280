// What both bodies of the embedding's gradient keep in their scratch, and the sort they begin with.
#pragma once

#include "kernels/base/device_algorithms.h"
#include "kernels/embedding/embedding.h"

namespace unroll {

// Offsets of the parts, and the whole.
struct EmbeddingScratch {
  size_t keys, positions, words, order, starts, partial, sort, bytes;

  EmbeddingScratch(const Exec& exec, DType act, int N, int64_t D) {
    size_t end = 0;
    const auto take = [&](size_t bytes) {
      const size_t begin = end;
      end += (bytes + 255) / 256 * 256;
      return begin;
    };
    const size_t array = size_t(N) * sizeof(uint32_t);
    keys = take(array);
    positions = take(array);
    words = take(array);  // sorted, as are the positions in `order`
    order = take(array);
    starts = take(array + sizeof(uint32_t));  // CPU: of groups, then their end
    partial = take(size_t(partial_rows(N) * partial_stride(D)) * size_of(accumulate_type(act)));
    sort = take(sort_pairs_scratch_bytes(exec, N));
    bytes = end;
  }

  // The groups of a word but the first have a row of partial sums each: of the group that begins at
  // term i, row i / kTermGroup. No two begin within kTermGroup terms of each other: the first group
  // of a word stands between those of two words.
  static int64_t partial_rows(int N) { return (N + kTermGroup - 1) / kTermGroup; }
  static int64_t partial_stride(int64_t D) { return (D + 3) / 4 * 4; }
};

// Bits of keys 0 .. V; padding has key V, so that it is sorted behind every word.
inline int embedding_key_bits(int64_t V) {
  int bits = 1;
  while (bits < 32 && (int64_t(1) << bits) <= V) ++bits;
  return bits;
}

}  // namespace unroll
