// Softmax of rows of logits that stand whole, in one visit: one read and one write of a logit where
// the row fits on chip, else one more read.
//
//   gradient   loss and, over the logits, dz of linear_softmax_xent.h
//   log_p      z - logsumexp(z)
//
// Up to 10,240 logits stand in the registers of a block. Gradients of longer rows, and all with
// options, stand in the shared memory of one block or of a cluster (row_on_chip.cuh); what does not
// fit there either, and other log_p, is walked twice: 2 V reads and V writes.
#pragma once

#include "kernels/heads/row_on_chip.cuh"

namespace unroll::cuda {

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
  gpu::launch(row_softmax_kernel<task, kOptions, kThreads, kItems, N, T>,
              row_launch<kThreads>(rows.z.n[0]), exec.stream, rows);
}

// wide: rows of z and out, and b, start on 16 bytes.
template <RowTask task, class T>
void row_softmax(const Exec& exec, const Rows<T>& rows, bool wide) {
  const int64_t V = rows.z.n[1];
  const bool options = rows.terms.cap > 0 || rows.terms.smoothing > 0 || rows.terms.z_loss > 0;
  if (!wide) return launch_rows<task, true, 1024, 0, 1>(exec, rows);
  if (!options && V <= gpu::kWarp * 8 * 4)
    return launch_rows<task, false, gpu::kWarp, 8, 4>(exec, rows);
  if (!options && V <= 512 * 5 * 4) return launch_rows<task, false, 512, 5, 4>(exec, rows);
  if constexpr (task == RowTask::gradient)
    if (options ? on_chip_rows<true>(exec, rows) : on_chip_rows<false>(exec, rows)) return;
  launch_rows<task, true, 1024, 0, kPack<T>>(exec, rows);
}

}  // namespace unroll::cuda
