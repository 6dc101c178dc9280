// The product at the heart of both passes of the persistent schedule, fed by the exchange. How
// rows, K and lanes are divided: persistent_plan.h.
//
// The matrix is the A operand of mma.m16n8k16, or m16n8k8 in TF32. A tile's 16 rows are one row (one
// gate) of each of 16 units, row g that of unit 2g and row g + 8 that of unit 2g + 1, so after the
// sum over warps one thread holds all gates of two neighbouring units of a lane, and sends them together. K is
// permuted: of a block of 64 bytes of columns, thread t of a quad holds 16 bytes of A and of B, one
// load each, bf16 columns 8t..8t+7 or f32 columns 4t..4t+3, and they serve as columns 2t 2t+1 2t+8
// 2t+9, or t t+4, of two mma. Both operands are permuted alike, so the sum is over the same
// products. In words of 32 bits the two types are the same.
#pragma once

#include "kernels/recurrent/persistent_exchange.cuh"

namespace unroll::cuda {

// M rows per unit, N tiles of 8 lanes at a time, P as in persistent_exchange.cuh.
template <class P, int M, int N>
struct Product {
  using Element = typename P::Element;
  static constexpr int kWide = kWide16<P>;
  static constexpr bool kThreeProducts = std::is_same_v<P, F32Product>;
  static constexpr int kInRegisters = register_blocks(M, kThreeProducts, N);
  // An mma waits for the one before it on the same sums: with few tiles, two sets of sums.
  static constexpr int kChains = N == 1 || M * N < 4 ? 2 : 1;

  uint32_t held[kInRegisters][M][8];  // of the first unit group
  uint32_t* matrix;                   // the rest; every thread reads only what it wrote
  uint32_t* staged;                   // [staged_blocks,N,32] x 16 bytes; likewise
  float* partial;                     // [unit_groups,M,N,warps] fragments
  int warp, lane, g, t;               // thread 4g + t of its warp
  int blocks_here, held_here;         // of K: warp, warp + 8, ...; the first of them in `held`
  bool gave_up = false;

  GPU_DEVICE Product(const PersistentLayout& l, unsigned char*& raw)
      : warp(int(threadIdx.x) / gpu::kWarp),
        lane(int(threadIdx.x) % gpu::kWarp),
        g(lane / 4),
        t(lane % 4),
        blocks_here((l.k_blocks - warp + kWarps - 1) / kWarps),
        held_here(l.held < blocks_here ? l.held : blocks_here) {
    const int kept = l.unit_groups * l.k_blocks - l.held_blocks;
    matrix = gpu::carve<uint32_t>(raw, size_t(kept) * M * (kPieceBytes / 4));
    staged = gpu::carve<uint32_t>(raw, size_t(l.staged_blocks) * N * gpu::kWarp * 4);
    partial =
        gpu::carve<float>(raw, size_t(l.unit_groups) * M * N * l.summed_warps * gpu::kWarp * 4);
  }

  // Fetches the matrix: row(m, unit, k) is columns k..k+kWide-1 of row m of a unit, zero outside.
  template <class Row>
  GPU_DEVICE void fetch_matrix(const PersistentLayout& l, const BlockShare& share, Row row) {
#pragma unroll
    for (int j = 0; j < kInRegisters; ++j) {
#pragma unroll
      for (int m = 0; m < M; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Words w{};
          if (j < held_here) w = row(m, share.first_unit + 2 * g + half, column(j));
#pragma unroll
          for (int e = 0; e < 4; ++e) held[j][m][half * 4 + e] = w[e];
        }
      }
    }
    // Loops of unknown length are not unrolled: the registers are full.
#pragma unroll 1
    for (int u = 0; u < l.unit_groups; ++u) {
#pragma unroll 1
      for (int j = u == 0 ? held_here : 0; j < blocks_here; ++j) {
#pragma unroll 1
        for (int i = 0; i < 2 * M; ++i) {
          const int m = i / 2, half = i % 2;
          gpu::store_vec(piece(l, u, j, m, half),
                         row(m, share.first_unit + u * kUnitGroup + 2 * g + half, column(j)));
        }
      }
    }
  }

  // Stages the numbers of the lanes from first_lane on, once they have come: of entry `step` - 1 the
  // piece of K that begins at the warp's block `first`.
  GPU_DEVICE void gather(const PersistentLayout& l, const BlockShare& share, int first_lane,
                         int step, int first) {
    constexpr int kDeep = kLoadsAtOnce / N;
    const int lane_stride = kTileLanes * kBlockWords, block_stride = kWarps * l.B * kBlockWords;
    const int end = end_of(l, first);
    const uint32_t* from = l.entry(step - 1) +
                           (int64_t(warp + first * kWarps) * l.B + first_lane + g) * kBlockWords +
                           4 * t;
#pragma unroll 1
    for (int j0 = first; j0 < end; j0 += kDeep, from += int64_t(kDeep) * block_stride) {
      const auto comes = [&](int j, int n) {  // numbers beyond K and lanes beyond B do not exist
        return j0 + j < end && column(j0 + j) < l.K &&
               first_lane + n * kTileLanes + g < share.lane_end;
      };
      Words w[kDeep][N];
#pragma unroll
      for (int j = 0; j < kDeep; ++j) {
#pragma unroll
        for (int n = 0; n < N; ++n) {
          w[j][n] = Words{};
          if (comes(j, n))
            w[j][n] = gpu::load_relaxed(words(from, j * block_stride + n * lane_stride));
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
          const Words* watched = words(from, late / N * block_stride + late % N * lane_stride);
          uint32_t looks = 0;
          while (unready(gpu::poll_relaxed(watched)) && !gave_up)
            if (l.patience && ++looks >= l.patience)
              give_up(l, step, column(j0 + late / N), first_lane + late % N * kTileLanes + g);
        }
        if (l.patience) gave_up = gpu::any(gpu::kFullMask, gave_up);
#pragma unroll
        for (int j = 0; j < kDeep; ++j) {
#pragma unroll
          for (int n = 0; n < N; ++n)
            if (unready(w[j][n]))
              w[j][n] = gpu::load_relaxed(words(from, j * block_stride + n * lane_stride));
        }
      }
#pragma unroll
      for (int j = 0; j < kDeep; ++j) {
#pragma unroll
        for (int n = 0; n < N; ++n)
          if (j0 + j < end) stage(j0 + j - first, n, w[j][n]);
      }
    }
  }
  // Stages the numbers of the first step, which the caller gives: number k of lane b is
  // state(b, k).
  GPU_DEVICE void gather_first(const PersistentLayout& l, const BlockShare& share, int first_lane,
                               const View<const Element, 2>& state, int first) {
    gather_rows(l, share, first_lane, first,
                [&](int b, int k) { return row_of(state.row(b), k, l.H, false); });
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
        stage(j - first, n, b < share.lane_end ? numbers(b, column(j)) : Words{});
      }
    }
  }

  // The numbers times the matrix, this warp's part of K, into `partial`: in some step. fetch(first)
  // stages the piece of K that begins at the warp's block `first`; every thread multiplies what it
  // has staged itself. All threads of the block call it, and a barrier follows before sums are read.
  template <class Fetch>
  GPU_DEVICE void multiply(const PersistentLayout& l, int step, const Fetch& fetch) {
#pragma unroll 1
    for (int first = 0; first < l.warp_blocks; first += l.piece) {
      fetch(first);
      const int end = end_of(l, first), held_end = end < held_here ? end : held_here;
#pragma unroll 1
      for (int u = 0; u < l.unit_groups; ++u) {
        Sums sum{};
        if (u == 0) {
#pragma unroll
          for (int j = 0; j < kInRegisters; ++j)
            if (j >= first && j < held_end)
              multiply_held(sum, j, j - first, l.zero * uint32_t(step));
        }
#pragma unroll 1
        for (int j = u == 0 && first < held_here ? held_here : first; j < end; ++j)
          multiply_kept(l, sum, u, j, j - first);
        // The partial sums of the last step, or of the last chunk of lanes, have been read by now.
        if (u == 0 && first == 0) gpu::sync_threads();
        if (warp < l.summed_warps) store_sums(l, sum, u, first > 0);
      }
    }
  }

  // Row m of the two units of an item, summed over the warps in their order.
  GPU_DEVICE void sums(const PersistentLayout& l, const Item<N>& item, int m, float& first,
                       float& second) const {
    first = second = 0;
#pragma unroll 4
    for (int w = 0; w < kWarps; ++w) {
      if (w >= l.summed_warps) continue;
      const auto v =
          gpu::load_vec<2>(fragment(l, item.u, m, item.tile, w) + item.slot * 4 + item.half * 2);
      first += v[0];
      second += v[1];
    }
  }

  // Columns k..k+kWide-1 of a row of n numbers as operands; zero beyond. `aligned`: k begins on 16
  // bytes.
  template <class E>
  static GPU_DEVICE Words row_of(E* row, int k, int n, bool aligned) {
    Words w{};
    if (aligned && k + kWide <= n) {
      w = __builtin_bit_cast(Words, gpu::load_vec<kWide>(row + k));
#pragma unroll
      for (int e = 0; e < 4; ++e) w[e] = operand<P>(w[e]);
      return w;
    }
#pragma unroll
    for (int e = 0; e < kWide; ++e)
      if (k + e < n) put(w, e, row[k + e]);
    return w;
  }
  // Makes x number e of 16 bytes that are zero there.
  static GPU_DEVICE void put(Words& w, int e, Element x) {
    if constexpr (sizeof(Element) == 2)
      w[e / 2] |= uint32_t(x.bits) << 16 * (e % 2);
    else
      w[e] = operand<P>(__builtin_bit_cast(uint32_t, x));
  }

 private:
  // Where the piece ends that begins at the warp's block `first`.
  GPU_DEVICE int end_of(const PersistentLayout& l, int first) const {
    return first + l.piece < blocks_here ? first + l.piece : blocks_here;
  }
  // First of this thread's columns of its j-th block of K.
  GPU_DEVICE int column(int j) const { return (warp + j * kWarps) * kBlockK<P> + kWide * t; }
  GPU_DEVICE uint32_t* piece(const PersistentLayout& l, int u, int j, int m, int half) const {
    const int block = u * l.k_blocks + warp + j * kWarps - l.held_blocks;
    return matrix + (((block * M + m) * 2 + half) * gpu::kWarp + lane) * 4;
  }
  GPU_DEVICE float* fragment(const PersistentLayout& l, int u, int m, int n, int w) const {
    return partial + (((u * M + m) * N + n) * l.summed_warps + w) * gpu::kWarp * 4;
  }
  static GPU_DEVICE const Words* words(const uint32_t* from, int64_t at) {
    return reinterpret_cast<const Words*>(from + at);
  }
  static GPU_DEVICE bool unready(const Words& w) {
    return w[0] == kSentinel || w[1] == kSentinel || w[2] == kSentinel || w[3] == kSentinel;
  }
  GPU_DEVICE uint32_t* staged_words(int j, int n) const {
    return staged + (((warp + j * kWarps) * N + n) * gpu::kWarp + lane) * 4;
  }
  GPU_DEVICE void stage(int j, int n, const Words& w) { gpu::store_vec(staged_words(j, n), w); }

  struct Sums {
    float v[kChains][M][N][4];
  };
  // Number e of a thread's four in `partial`, where the two units of a lane are next to each other,
  // among those of an mma.
  static constexpr int swapped(int e) { return e % 2 * 2 + e / 2; }
  // `more`: adds to what is there.
  GPU_DEVICE void store_sums(const PersistentLayout& l, const Sums& sum, int u, bool more) const {
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        float* const to = fragment(l, u, m, n, warp) + lane * 4;
        gpu::Vec<float, 4> v{};
        if (more) v = gpu::load_vec<4>(to);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          v[e] += sum.v[0][m][n][swapped(e)];
          if (kChains == 2) v[e] += sum.v[kChains - 1][m][n][swapped(e)];
        }
        gpu::store_vec(to, v);
      }
    }
  }
  // A block of K is two mma for every tile of rows and of lanes, one on each half of `rows` and of
  // `numbers`.
  static GPU_DEVICE void multiply_half(Sums& sum, int half, int m, int n, const uint32_t (&rows)[8],
                                       const Words& numbers) {
    const int e = 2 * half;
    const uint32_t a[4] = {rows[e], rows[e + 4], rows[e + 1], rows[e + 5]};
    const uint32_t b[2] = {numbers[e], numbers[e + 1]};
    P::multiply(sum.v[half % kChains][m][n], a, b);
  }
  GPU_DEVICE void multiply_row(Sums& sum, int m, const uint32_t (&rows)[8],
                               const Words (&numbers)[N]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int n = 0; n < N; ++n) multiply_half(sum, half, m, n, rows, numbers[n]);
    }
  }
  GPU_DEVICE void load_staged(int j, Words (&numbers)[N]) const {
#pragma unroll
    for (int n = 0; n < N; ++n) numbers[n] = gpu::load_vec<4>(staged_words(j, n));
  }
  // True f32 splits a row once for all tiles of lanes. What is split never changes, so a compiler
  // would do it once for all steps and find no registers for the halves; `zero` is new in each.
  GPU_DEVICE void multiply_held(Sums& sum, int j, int staged_j, uint32_t zero) const {
    if constexpr (kThreeProducts) {
      Words numbers[N];
      load_staged(staged_j, numbers);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        uint32_t rows[8];
#pragma unroll
        for (int e = 0; e < 8; ++e) rows[e] = held[j][m][e] ^ zero;
        multiply_row(sum, m, rows, numbers);
      }
    } else {
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const Words numbers = gpu::load_vec<4>(staged_words(staged_j, n));
#pragma unroll
        for (int half = 0; half < 2; ++half) {
#pragma unroll
          for (int m = 0; m < M; ++m) multiply_half(sum, half, m, n, held[j][m], numbers);
        }
      }
    }
  }
  // One tile of rows at a time, since there are no registers for more.
  GPU_DEVICE void multiply_kept(const PersistentLayout& l, Sums& sum, int u, int j,
                                int staged_j) const {
    Words numbers[N];
    load_staged(staged_j, numbers);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const Words first = gpu::load_vec<4>(piece(l, u, j, m, 0));
      const Words second = gpu::load_vec<4>(piece(l, u, j, m, 1));
      const uint32_t rows[8] = {first[0],  first[1],  first[2],  first[3],
                                second[0], second[1], second[2], second[3]};
      multiply_row(sum, m, rows, numbers);
    }
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
