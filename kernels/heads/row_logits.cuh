// What the kernels over rows of logits share: the arguments, and a few logits of a row into its sums.
#pragma once

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/heads/adversarial_row.h"
#include "kernels/heads/xent_row.h"

namespace unroll::cuda {

enum class RowTask : uint8_t { gradient, log_p };

template <class T>
struct Rows {
  View<const T, 2> z;  // [N,V]; without bias; may be the memory of `out`
  View<T, 2> out{};    // [N,V]
  XentTerms<float> terms;
  const float* b = nullptr;         // [V] or null
  View<const T, 2> x{}, W{};        // [N,D], [V,D]; where T is bf16: for the true class in f32
  float* loss = nullptr;            // [N]  gradient, as the next two
  const int32_t* target = nullptr;  // [N]
  const float* dloss = nullptr;     // [N]
  const float* shift = nullptr;     // [N] or null
};

constexpr float kMinusInfinity = -__builtin_huge_valf();

// e^x of logits stored as T. For those of bf16 a shorter way, whose error grows by x / 2^24: rows of
// bf16 come from memory faster than the exact one computes.
template <class T>
GPU_DEVICE float exp_of(float x) {
  if constexpr (std::is_same_v<T, float>)
    return std::exp(x);
  else
    return gpu::exp2_of(x * 1.44269504f);
}

// Neighbouring logits into a row's maximum and sum; those beyond the row's end are -inf.
template <class T = float, int N>
GPU_DEVICE void add_logits(RowSum<float>& row, const float (&v)[N]) {
  float larger = row.max;
#pragma unroll
  for (int k = 0; k < N; ++k) larger = std::fmax(larger, v[k]);
  const float to = RowSum<float>::reference(larger);
  row.sum *= exp_of<T>(row.max - to);
#pragma unroll
  for (int k = 0; k < N; ++k) row.sum += exp_of<T>(v[k] - to);
  row.max = larger;
}

// What is within the row's end.
template <int N>
GPU_DEVICE void add_total(RowSum<float>& row, const float (&v)[N], int j, int V) {
#pragma unroll
  for (int k = 0; k < N; ++k)
    if (j + k < V) row.total += v[k];
}

// Where a thread stands: a row is worked on by kThreads threads, a warp or a whole block.
template <int kThreads>
struct RowTeam {
  static constexpr bool kIsWarp = kThreads == gpu::kWarp;
  static constexpr int kRows = kIsWarp ? 8 : 1;  // of a block
  static constexpr int kBlock = kThreads * kRows;
  static constexpr int kBlocks = kBlock <= 512 ? 2 : 1;  // per multiprocessor, at least

  GPU_DEVICE static int thread() { return int(threadIdx.x) % kThreads; }
  GPU_DEVICE static int64_t row() {
    return int64_t(blockIdx.x) * kRows + int(threadIdx.x) / kThreads;
  }
  GPU_DEVICE static float max(float v) {
    if constexpr (kIsWarp)
      return warp_max(v);
    else
      return block_max(v);
  }
  GPU_DEVICE static float sum(float v) {
    if constexpr (kIsWarp)
      return warp_sum(v);
    else
      return block_sum(v);
  }
};

// A team for each of N rows.
template <int kThreads>
gpu::Launch row_launch(int64_t N) {
  using Team = RowTeam<kThreads>;
  gpu::Launch shape;
  shape.grid.x = unsigned((N + Team::kRows - 1) / Team::kRows);
  shape.block.x = Team::kBlock;
  return shape;
}

// N neighbouring logits from column j on, with bias and cap, -inf beyond the row's end.
template <bool kCap, int N, class T>
GPU_DEVICE void load_logits(const T* z, const float* b, const XentTerms<float>& terms, int j, int V,
                            float (&v)[N]) {
  if (j + N <= V) {
    float bias[N] = {};
    load_as_float<N>(z + j, v);
    if (b) load_as_float<N>(b + j, bias);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] += bias[k];
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      v[k] = j + k < V ? float(z[j + k]) + (b ? b[j + k] : 0.0f) : kMinusInfinity;
  }
  if constexpr (kCap) {
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] = terms.capped(v[k]);
  }
}

template <int N, class T>
GPU_DEVICE void store_row(T* out, int j, int V, const float (&v)[N]) {
  if (j + N <= V) {
    store_from_float<N>(out + j, v);
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      if (j + k < V) out[j + k] = T(v[k]);
  }
}

// The true class's logit of a row: read in f32, from bf16 operands formed again.
template <class Team, class T>
GPU_DEVICE float true_logit(const Rows<T>& a, const XentTerms<float>& terms, int64_t row,
                            int32_t target) {
  float z = 0;
  if constexpr (std::is_same_v<T, float>) {
    if (target >= 0) z = a.z.row(row)[target];
  } else {
    if (target >= 0)
      for (int64_t d = Team::thread(); d < a.x.n[1]; d += Team::kBlock / Team::kRows)
        z += float(a.x(row, d)) * float(a.W(target, d));
    z = Team::sum(z);
  }
  return terms.capped(target >= 0 && a.b ? z + a.b[target] : z);
}

// dloss of a row, or what an adversary makes of it.
GPU_DEVICE float row_weight(const float* dloss, const float* shift, int64_t n,
                            const RowSum<float>& row, const XentTerms<float>& terms) {
  return shift ? adversarial_weight(dloss[n], row.loss(terms), shift[n]) : dloss[n];
}

}  // namespace unroll::cuda
