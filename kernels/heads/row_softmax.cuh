// Softmax and loss of rows of logits, one pass over memory where a row fits the registers of a
// block.
//
//   loss = logsumexp(z) - z[target]        dz = dloss (softmax(z) - onehot(target))
//
// with z = logits + b. The sum is that of Milakov & Gimelshein 2018 ("Online normalizer calculation
// for softmax"), algorithm 3, where a row has to be read twice. The entry of the true class is
// formed from the loss, as expm1(-loss): softmax - 1 would lose its digits when the class is nearly
// certain.
#pragma once

#include <cmath>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/exec.h"
#include "kernels/base/reduce.cuh"

namespace unroll::cuda {

enum class RowTask : uint8_t { loss, gradient, log_p };

template <class T>
struct Rows {
  View<const float, 2> z;           // [N,V]; may be the memory of `out`
  View<T, 2> out{};                 // [N,V]  gradient: dz; log_p: z - logsumexp(z)
  const float* b = nullptr;         // [V] or null
  float* loss = nullptr;            // [N]  loss, gradient
  const int32_t* target = nullptr;  // [N]  loss, gradient
  const float* dloss = nullptr;     // [N]  gradient
};

constexpr float kMinusInfinity = -__builtin_huge_valf();

// A maximum and the sum of exponentials relative to it, joined without infinity - infinity.
struct ExpSum {
  float max = kMinusInfinity, sum = 0;
  GPU_DEVICE static float reference(float max) { return max == kMinusInfinity ? 0.0f : max; }

  template <int N>
  GPU_DEVICE void add(const float (&v)[N]) {
    float larger = max;
#pragma unroll
    for (int k = 0; k < N; ++k) larger = v[k] > larger ? v[k] : larger;
    const float to = reference(larger);
    sum *= std::exp(max - to);
#pragma unroll
    for (int k = 0; k < N; ++k) sum += std::exp(v[k] - to);
    max = larger;
  }
};

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

// N neighbouring logits from column j on, bias added, -infinity beyond the row's end.
template <int N>
GPU_DEVICE void load_logits(const float* z, const float* b, int j, int V, float (&v)[N]) {
  if (j + N <= V) {
    float bias[N] = {};
    load_as_float<N>(z + j, v);
    if (b) load_as_float<N>(b + j, bias);
#pragma unroll
    for (int k = 0; k < N; ++k) v[k] += bias[k];
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k)
      v[k] = j + k < V ? z[j + k] + (b ? b[j + k] : 0.0f) : kMinusInfinity;
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

// kItems > 0: a thread keeps that many strips of N logits, so V <= kThreads * kItems * N and a row
// is read once. kItems = 0: any V, read twice.
template <RowTask task, int kThreads, int kItems, int N, class T>
GPU_KERNEL_BOUNDS(RowTeam<kThreads>::kBlock, RowTeam<kThreads>::kBlocks)
void row_softmax_kernel(Rows<T> a) {
  using Team = RowTeam<kThreads>;
  const int V = int(a.z.n[1]);
  const int64_t row = Team::row();
  if (row >= a.z.n[0]) return;  // a whole warp, or nobody
  const float* z = a.z.row(row);
  const int32_t target = task == RowTask::log_p ? -1 : a.target[row];
  float z_target = 0;  // read before anything of this row is overwritten
  if (target >= 0) z_target = z[target] + (a.b ? a.b[target] : 0.0f);

  constexpr bool kKeep = kItems > 0;
  float kept[kKeep ? kItems : 1][N];
  ExpSum mine;
  if constexpr (kKeep) {
#pragma unroll
    for (int i = 0; i < kItems; ++i) {
      load_logits<N>(z, a.b, (i * kThreads + Team::thread()) * N, V, kept[i]);
#pragma unroll
      for (int k = 0; k < N; ++k) mine.max = kept[i][k] > mine.max ? kept[i][k] : mine.max;
    }
  } else {
    for (int j = Team::thread() * N; j < V; j += kThreads * N) {
      load_logits<N>(z, a.b, j, V, kept[0]);
      mine.add(kept[0]);
    }
  }
  const float max = ExpSum::reference(Team::max(mine.max));
  if constexpr (kKeep) {
#pragma unroll
    for (int i = 0; i < kItems; ++i)
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const float e = std::exp(kept[i][k] - max);
        mine.sum += e;
        // The gradient needs no more of a logit than this.
        if (task == RowTask::gradient) kept[i][k] = e;
      }
  } else {
    mine.sum *= std::exp(mine.max - max);
  }
  const float sum = Team::sum(mine.sum), log_sum = std::log(sum);
  const float loss = target < 0 ? 0.0f : log_sum + (max - z_target);
  if (task != RowTask::log_p && Team::thread() == 0) a.loss[row] = loss;

  if constexpr (task != RowTask::loss) {
    if constexpr (Team::kIsWarp) gpu::sync_warp();  // every lane has read z_target
    T* out = a.out.row(row);
    const float weight = target < 0 ? 0.0f : task == RowTask::gradient ? a.dloss[row] : 0.0f;
    const float scale = weight / sum, log_z = max + log_sum;
    const float true_class = weight * std::expm1(-loss);
    const auto finish = [&](int j, float(&v)[N]) {
#pragma unroll
      for (int k = 0; k < N; ++k) {
        if constexpr (task == RowTask::log_p) {
          v[k] -= log_z;
        } else {
          const float e = kKeep ? v[k] : std::exp(v[k] - max);
          v[k] = target < 0 ? 0.0f : j + k == target ? true_class : e * scale;
        }
      }
      store_row<N>(out, j, V, v);
    };
    if constexpr (kKeep) {
#pragma unroll
      for (int i = 0; i < kItems; ++i) finish((i * kThreads + Team::thread()) * N, kept[i]);
    } else {
      for (int j = Team::thread() * N; j < V; j += kThreads * N) {
        load_logits<N>(z, a.b, j, V, kept[0]);
        finish(j, kept[0]);
      }
    }
  }
}

template <RowTask task, int kThreads, int kItems, int N, class T>
void launch_rows(const Exec& exec, const Rows<T>& rows) {
  using Team = RowTeam<kThreads>;
  gpu::Launch shape;
  shape.grid.x = unsigned((rows.z.n[0] + Team::kRows - 1) / Team::kRows);
  shape.block.x = Team::kBlock;
  gpu::launch(row_softmax_kernel<task, kThreads, kItems, N, T>, shape, exec.stream, rows);
}

// wide: rows of z and out, and b, start on 16 bytes.
template <RowTask task, class T>
void row_softmax(const Exec& exec, const Rows<T>& rows, bool wide) {
  const int64_t V = rows.z.n[1];
  if (!wide) return launch_rows<task, 1024, 0, 1>(exec, rows);
  if (V <= gpu::kWarp * 8 * 4) return launch_rows<task, gpu::kWarp, 8, 4>(exec, rows);
  if (V <= 512 * 5 * 4) return launch_rows<task, 512, 5, 4>(exec, rows);
  // log_p keeps more per logit than the registers of 1024 threads hold.
  if constexpr (task != RowTask::log_p)
    if (V <= 1024 * 9 * 4) return launch_rows<task, 1024, 9, 4>(exec, rows);
  launch_rows<task, 1024, 0, 4>(exec, rows);
}

}  // namespace unroll::cuda
