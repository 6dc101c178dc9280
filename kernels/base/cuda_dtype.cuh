// Element types of CUDA bodies, chosen at run time, and rows of them read and written as float.
#pragma once

#include <string>

#include "kernels/base/dtype.h"
#include "kernels/base/gpu.h"
#include "kernels/base/view.h"

namespace unroll {

// Elements of T in 16 bytes.
template <class T>
inline constexpr int kPack = int(16 / sizeof(T));

}  // namespace unroll

namespace unroll::cuda {

// Calls body(float{}) or body(bf16{}). Throws Error for any other type.
template <class Body>
void with_act(const char* op, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::bf16:
      return body(bf16{});
    default:
      throw Error(std::string(op) + ": CUDA computes in f32 or bf16, not in " + name_of(dtype) +
                  "; use --precision fp32, tf32 or bf16, or --device cpu");
  }
}

// Throws Error unless `dtype` is f32, the type of sums and master weights on CUDA.
inline void require_f32(const char* op, DType dtype) {
  if (dtype != DType::f32)
    throw Error(std::string(op) + ": CUDA keeps sums and weights in f32, not in " + name_of(dtype) +
                "; use --device cpu for f64");
}

// Whether every row of `v` starts on 16 bytes.
template <int R>
bool rows_aligned(const AnyView<R>& v) {
  const bool one_row = v.rows() <= 1;
  return reinterpret_cast<uintptr_t>(v.data) % 16 == 0 &&
         (one_row || v.ld * int64_t(size_of(v.dtype)) % 16 == 0);
}

// Largest number of elements of T that N of them can be moved in.
template <class T, int N>
inline constexpr int kWide = N < kPack<T> ? N : kPack<T>;

// N consecutive elements as float. p is aligned to kWide<T,N> elements.
template <int N, class T>
GPU_DEVICE void load_as_float(const T* p, float (&v)[N]) {
  constexpr int W = kWide<T, N>;
#pragma unroll
  for (int k = 0; k < N; k += W) {
    const auto part = gpu::load_vec<W>(p + k);
#pragma unroll
    for (int j = 0; j < W; ++j) v[k + j] = float(part[j]);
  }
}

template <int N, class T>
GPU_DEVICE void store_from_float(T* p, const float (&v)[N]) {
  constexpr int W = kWide<T, N>;
#pragma unroll
  for (int k = 0; k < N; k += W) {
    gpu::Vec<T, W> part;
#pragma unroll
    for (int j = 0; j < W; ++j) part[j] = T(v[k + j]);
    gpu::store_vec(p + k, part);
  }
}

// The columns of a row, N at a time and the rest one by one: f(j, Width<N>) or f(j, Width<1>).
// Thread `i` of `threads` takes every threads-th.
template <int N>
struct Width {
  static constexpr int value = N;
};
template <int N, class F>
GPU_DEVICE void for_each_strip(int64_t columns, int i, int threads, F f) {
  const int64_t whole = columns / N * N;
  for (int64_t j = int64_t(i) * N; j < whole; j += int64_t(threads) * N) f(j, Width<N>{});
  if constexpr (N > 1)
    for (int64_t j = whole + i; j < columns; j += threads) f(j, Width<1>{});
}

}  // namespace unroll::cuda
