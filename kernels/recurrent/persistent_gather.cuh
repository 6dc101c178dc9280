// How a block of the persistent schedule takes in the numbers that the others send, or the caller
// gives, its part of K: into shared memory, as operands of the product (persistent_product.cuh).
#pragma once

#include "kernels/recurrent/persistent_exchange.cuh"

namespace unroll::cuda {

// How many of n things come to number `first` of `of`, to whom they are dealt in turn.
GPU_DEVICE int dealt(int n, int first, int of) { return n > first ? (n - first + of - 1) / of : 0; }

// N tiles of 8 lanes at a time, P as in persistent_exchange.cuh. kSharesK: the blocks of a cluster
// may share K; otherwise the compiler sees that there is none. What is known of the thread and the
// layout is worked out where it is needed: registers are full.
template <class P, int N, bool kSharesK>
struct StagedNumbers {
  using Element = typename P::Element;
  static constexpr int kWide = kWide16<P>;

  uint32_t* staged;      // [staged_blocks,N,32] x 16 bytes
  int warp, lane, g, t;  // thread 4g + t of its warp
  bool gave_up = false;

  GPU_DEVICE StagedNumbers(const PersistentLayout& l, unsigned char*& raw)
      : staged(gpu::carve<uint32_t>(raw, size_t(l.staged_blocks) * N * gpu::kWarp * 4)),
        warp(int(threadIdx.x) / gpu::kWarp),
        lane(int(threadIdx.x) % gpu::kWarp),
        g(lane / 4),
        t(lane % 4) {}

  // Whether a cluster shares K.
  static GPU_DEVICE bool splits(const PersistentLayout& l) { return kSharesK && l.cluster > 1; }
  // This block's part of K: the block where it begins, and how many there are.
  static GPU_DEVICE int k_begin(const PersistentLayout& l) {
    return kSharesK ? gpu::cluster_rank() * l.slice : 0;
  }
  static GPU_DEVICE int part(const PersistentLayout& l) {
    const int left = l.k_blocks - k_begin(l);
    return left < l.slice ? left : l.slice;
  }

  // Stages the numbers of the lanes from first_lane on, once they have come: of entry `step` - 1
  // the piece of K that begins at the warp's block `first`.
  GPU_DEVICE void gather(const PersistentLayout& l, const BlockShare& share, int first_lane,
                         int step, int first) {
    constexpr int kDeep = kLoadsAtOnce / N;
    const int lane_stride = kTileLanes * kBlockWords, block_stride = kWarps * l.B * kBlockWords;
    const int end = end_of(l, first);
    const uint32_t* from =
        l.entry(step - 1) +
        (int64_t(k_begin(l) + warp + first * kWarps) * l.B + first_lane + g) * kBlockWords + 4 * t;
#pragma unroll 1
    for (int j0 = first; j0 < end; j0 += kDeep, from += int64_t(kDeep) * block_stride) {
      const auto comes = [&](int j, int n) {  // numbers beyond K and lanes beyond B do not exist
        return j0 + j < end && gathered_column(l, j0 + j) < l.K &&
               first_lane + n * kTileLanes + g < share.lane_end;
      };
      Words w[kDeep][N];
#pragma unroll
      for (int j = 0; j < kDeep; ++j) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
          w[j][n] = Words{};
          if (comes(j, n))
            w[j][n] = gpu::load_relaxed(sent(from, j * block_stride + n * lane_stride));
        }
      }
      // One lane watches one of its words until that comes, then all that were late are loaded
      // again: watching all of them would fill the way to L2 with loads.
      for (;;) {
        int late = -1;
#pragma unroll
        for (int i = kDeep * N - 1; i >= 0; --i)
          if (!gave_up && unready(w[i / N][i % N])) late = i;
        const uint32_t waiting = gpu::ballot(gpu::kFullMask, late >= 0);
        if (!waiting) break;
        if (late >= 0 && (waiting & ((1u << lane) - 1)) == 0) {
          const Words* watched = sent(from, late / N * block_stride + late % N * lane_stride);
          uint32_t looks = 0;
          while (unready(gpu::poll_relaxed(watched)) && !gave_up)
            if (l.patience && ++looks >= l.patience)
              give_up(l, step, gathered_column(l, j0 + late / N),
                      first_lane + late % N * kTileLanes + g);
        }
        if (l.patience) gave_up = gpu::any(gpu::kFullMask, gave_up);
#pragma unroll
        for (int j = 0; j < kDeep; ++j) {
#pragma unroll
          for (int n = 0; n < N; ++n)
            if (unready(w[j][n]))
              w[j][n] = gpu::load_relaxed(sent(from, j * block_stride + n * lane_stride));
        }
      }
#pragma unroll
      for (int j = 0; j < kDeep; ++j) {
#pragma unroll
        for (int n = 0; n < N; ++n)
          if (j0 + j < end) stage(first, j0 + j, n, w[j][n]);
      }
    }
  }
  // Stages the numbers of the first step, which the caller gives: number k of lane b is
  // state(b, k).
  GPU_DEVICE void gather_first(const PersistentLayout& l, const BlockShare& share, int first_lane,
                               const View<const Element, 2>& state, int first) {
    gather_rows(l, share, first_lane, first,
                [&](int b, int k) { return row_of(state.row(b), k, l.H); });
  }
  // Stages what nobody sends: numbers(b, k) is k..k+kWide-1 of lane b.
  template <class Numbers>
  GPU_DEVICE void gather_rows(const PersistentLayout& l, const BlockShare& share, int first_lane,
                              int first, const Numbers& numbers) {
    const int end = end_of(l, first);
#pragma unroll 1
    for (int j = first; j < end; ++j) {
#pragma unroll 1
      for (int n = 0; n < N; ++n) {
        const int b = first_lane + n * kTileLanes + g;
        stage(first, j, n, b < share.lane_end ? numbers(b, gathered_column(l, j)) : Words{});
      }
    }
  }

  // Columns k..k+kWide-1 of a row of n numbers as operands; zero beyond.
  template <class E>
  static GPU_DEVICE Words row_of(E* row, int k, int n) {
    Words w{};
#pragma unroll
    for (int e = 0; e < kWide; ++e)
      if (k + e < n) put<P>(w, e, row[k + e]);
#pragma unroll
    for (int e = 0; e < 4; ++e) w[e] = operand<P>(w[e]);
    return w;
  }

  // This thread's words of block `block` of the part, tile 0, in the piece that begins at `first`.
  GPU_DEVICE uint32_t* words(int first, int block) const {
    return staged + ((block - first * kWarps) * N * gpu::kWarp + lane) * 4;
  }
  static GPU_DEVICE Words load(const uint32_t* from, int n) {
    return gpu::load_vec<4>(from + n * gpu::kWarp * 4);
  }
  static GPU_DEVICE void load(const uint32_t* from, Words (&numbers)[N]) {
#pragma unroll
    for (int n = 0; n < N; ++n) numbers[n] = load(from, n);
  }

 private:
  // Where the piece ends that begins with the block `first` that the warp gathers.
  GPU_DEVICE int end_of(const PersistentLayout& l, int first) const {
    const int all = dealt(part(l), warp, kWarps);
    return first + l.piece < all ? first + l.piece : all;
  }
  // First of this thread's columns of the j-th block of K that its warp gathers.
  GPU_DEVICE int gathered_column(const PersistentLayout& l, int j) const {
    return (k_begin(l) + warp + j * kWarps) * kBlockK<P> + kWide * t;
  }
  static GPU_DEVICE const Words* sent(const uint32_t* from, int64_t at) {
    return reinterpret_cast<const Words*>(from + at);
  }
  static GPU_DEVICE bool unready(const Words& w) {
    return w[0] == kSentinel || w[1] == kSentinel || w[2] == kSentinel || w[3] == kSentinel;
  }
  GPU_DEVICE void stage(int first, int j, int n, const Words& w) {
    gpu::store_vec(words(first, warp + j * kWarps) + n * gpu::kWarp * 4, w);
  }

  GPU_DEVICE void give_up(const PersistentLayout& l, int step, int k, int b) {
    gave_up = true;
    if (gpu::atomic_cas(&l.report->timed_out, 0u, 1u) != 0) return;
    l.report->block = uint32_t(l.block());
    l.report->warp = uint32_t(warp);
    l.report->step = uint32_t(step);
    l.report->k = uint32_t(k);
    l.report->lane = uint32_t(b);
    l.report->owner =
        uint32_t(l.block() / l.shares * l.shares + k % l.Hp / kUnitGroup / l.unit_groups);
  }
};

}  // namespace unroll::cuda
