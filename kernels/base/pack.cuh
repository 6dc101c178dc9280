// Rows read and written 16 bytes at a time where their alignment allows it.
//
// The launch function asks pack_width once and picks the instance of the kernel; inside, a loop
// over whole packs is followed by a loop over the rest, so no row length is special:
//
//   const int width = pack_width<T>(x.columns(), {{x.data, x.ld}, {y.data, y.ld}});
//   width > 1 ? gpu::launch(k<T, kPack<T>>, ...) : gpu::launch(k<T, 1>, ...);
#pragma once

#include <initializer_list>

#include "kernels/base/gpu.h"

namespace unroll {

// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPack = int(16 / sizeof(T));

// A row matrix as pack_width sees it.
struct RowLayout {
  const void* data;
  int64_t ld;  // elements
};

// kPack<T> if every row of every matrix starts on 16 bytes and holds at least one pack, else 1.
template <class T>
int pack_width(int64_t columns, std::initializer_list<RowLayout> matrices) {
  if (columns < kPack<T>) return 1;
  for (const RowLayout& m : matrices)
    if (reinterpret_cast<uintptr_t>(m.data) % 16 != 0 || m.ld % kPack<T> != 0) return 1;
  return kPack<T>;
}

// f(j, Vec<T,N>) for the whole packs of a row and f(j, Vec<T,1>) for the rest, thread `i` of
// `threads` taking every threads-th.
template <int N, class T, class F>
GPU_DEVICE void for_each_pack(T* row, int64_t columns, int i, int threads, F f) {
  const int64_t whole = columns / N * N;
  for (int64_t j = int64_t(i) * N; j < whole; j += int64_t(threads) * N)
    f(j, gpu::load_vec<N>(row + j));
  if constexpr (N > 1)
    for (int64_t j = whole + i; j < columns; j += threads) f(j, gpu::load_vec<1>(row + j));
}

}  // namespace unroll
