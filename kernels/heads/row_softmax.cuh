// Softmax of rows of logits that stand whole, in one visit: one read and one write of a logit where
// a row fits the registers of a block, else one more read.
//
//   gradient   loss and, over the logits, dz of linear_softmax_xent.h
//   log_p      z - logsumexp(z)
//
// A block keeps 10,240 logits in registers, of bf16 36,864. Beyond that, and with options, it walks
// the row twice: 2 V reads and V writes. The second read comes from the L2 cache as long as a row in
// flight on every multiprocessor fits there, up to some 100,000 words in f32; at V = 793,471, 1.6 MB
// of bf16 each, it comes from memory.
#pragma once

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/exec.h"
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

// Neighbouring logits into a row's maximum and sum; those beyond the row's end are -inf.
template <int N>
GPU_DEVICE void add_logits(RowSum<float>& row, const float (&v)[N]) {
  float larger = row.max;
#pragma unroll
  for (int k = 0; k < N; ++k) larger = v[k] > larger ? v[k] : larger;
  const float to = RowSum<float>::reference(larger);
  row.sum *= std::exp(row.max - to);
#pragma unroll
  for (int k = 0; k < N; ++k) row.sum += std::exp(v[k] - to);
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

// kItems > 0: a thread keeps that many strips of N logits, so V <= kThreads * kItems * N and a row
// is read once. kItems = 0: any V, read twice. kOptions: with cap and smoothing.
template <RowTask task, bool kOptions, int kThreads, int kItems, int N, class T>
GPU_KERNEL_BOUNDS(RowTeam<kThreads>::kBlock, RowTeam<kThreads>::kBlocks)
void row_softmax_kernel(Rows<T> a) {
  using Team = RowTeam<kThreads>;
  constexpr bool kGradient = task == RowTask::gradient;
  const int V = int(a.z.n[1]);
  const int64_t n = Team::row();
  // Known to be 0 when compiled, options take no registers.
  const XentTerms<float> terms = kOptions ? a.terms : XentTerms<float>(XentOptions{}, V);
  if (n >= a.z.n[0]) return;  // a whole warp, or nobody
  const T* z = a.z.row(n);
  const int32_t target = kGradient ? a.target[n] : -1;
  RowSum<float> row;
  if constexpr (kGradient) row.target = true_logit<Team>(a, terms, n, target);

  constexpr bool kKeep = kItems > 0;
  float kept[kKeep ? kItems : 1][N];
  const auto load = [&](int j, float(&v)[N]) {
    load_logits<kOptions, N>(z, a.b, terms, j, V, v);
    // The sum has to hold the very number that is subtracted from it.
    if constexpr (kGradient && !std::is_same_v<T, float>) {
#pragma unroll
      for (int k = 0; k < N; ++k) v[k] = j + k == target ? row.target : v[k];
    }
  };
  if constexpr (kKeep) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      const int j = (i * kThreads + Team::thread()) * N;
      load(j, kept[i]);
#pragma unroll
      for (int k = 0; k < N; ++k) row.max = kept[i][k] > row.max ? kept[i][k] : row.max;
    }
  } else {
    for (int j = Team::thread() * N; j < V; j += kThreads * N) {
      load(j, kept[0]);
      add_logits(row, kept[0]);
      if constexpr (kOptions && kGradient) add_total(row, kept[0], j, V);
    }
  }
  const float mine = row.max;
  row.max = Team::max(mine);
  const float max = RowSum<float>::reference(row.max);
  if constexpr (kKeep) {
#pragma unroll
    for (int i = 0; i < kItems; ++i)
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float e = std::exp(kept[i][k] - max);
        row.sum += e;
        // The gradient needs no more of a logit than this.
        if constexpr (kGradient) kept[i][k] = e;
      }
  } else {
    row.sum *= std::exp(mine - max);
  }
  row.sum = Team::sum(row.sum);
  if constexpr (kOptions && kGradient) row.total = Team::sum(row.total);

  T* out = a.out.row(n);
  if constexpr (kGradient) {
    if (Team::thread() == 0) a.loss[n] = target < 0 ? 0.0f : row.loss(terms);
    if constexpr (Team::kIsWarp) gpu::sync_warp();  // every lane has read the true logit
  }
  RowGradient<float> gradient;
  if constexpr (kGradient)
    if (target >= 0)
      gradient = RowGradient<float>(row, terms, row_weight(a.dloss, a.shift, n, row, terms));
  const float log_z = max + std::log(row.sum);
  const auto finish = [&](int j, float(&v)[N]) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      if constexpr (kGradient) {
        const float e = kKeep ? v[k] : std::exp(v[k] - max);
        const float slope = kOptions ? terms.slope(v[k]) : 1.0f;
        const float dz = j + k == target ? gradient.target : gradient.scale * e - gradient.uniform;
        v[k] = target < 0 ? 0.0f : dz * slope;
      } else {
        v[k] -= log_z;
      }
    }
    store_row<N>(out, j, V, v);
  };
  if constexpr (kKeep) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) finish((i * kThreads + Team::thread()) * N, kept[i]);
  } else {
    for (int j = Team::thread() * N; j < V; j += kThreads * N) {
      load(j, kept[0]);
      finish(j, kept[0]);
    }
  }
}

template <RowTask task, bool kOptions, int kThreads, int kItems, int N, class T>
void launch_rows(const Exec& exec, const Rows<T>& rows) {
  static_assert(!kOptions || kItems == 0, "the exponential alone does not give a cap's slope");
  using Team = RowTeam<kThreads>;
  gpu::Launch shape;
  shape.grid.x = unsigned((rows.z.n[0] + Team::kRows - 1) / Team::kRows);
  shape.block.x = Team::kBlock;
  gpu::launch(row_softmax_kernel<task, kOptions, kThreads, kItems, N, T>, shape, exec.stream, rows);
}

// wide: rows of z and out, and b, start on 16 bytes.
template <RowTask task, class T>
void row_softmax(const Exec& exec, const Rows<T>& rows, bool wide) {
  const int64_t V = rows.z.n[1];
  if (!wide) return launch_rows<task, true, 1024, 0, 1>(exec, rows);
  if (rows.terms.cap > 0 || rows.terms.smoothing > 0 || rows.terms.z_loss > 0)
    return launch_rows<task, true, 1024, 0, kPack<T>>(exec, rows);
  if (V <= gpu::kWarp * 8 * 4) return launch_rows<task, false, gpu::kWarp, 8, 4>(exec, rows);
  if (V <= 512 * 5 * 4) return launch_rows<task, false, 512, 5, 4>(exec, rows);
  if constexpr (task == RowTask::gradient && sizeof(T) == 2)
    if (V <= 1024 * 9 * 4) return launch_rows<task, false, 1024, 9, 4>(exec, rows);
  launch_rows<task, false, 1024, 0, kPack<T>>(exec, rows);
}

}  // namespace unroll::cuda
