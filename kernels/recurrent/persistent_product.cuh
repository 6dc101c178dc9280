// The product at the heart of both passes of the persistent schedule, fed by the exchange. How
// rows, K and lanes are divided: persistent_plan.h.
//
// The matrix is the A operand of mma.m16n8k16, or m16n8k8 in TF32. A tile's 16 rows are one row
// (one gate) of each of 16 units, row g that of unit 2g and row g + 8 that of unit 2g + 1, so after
// the sum over warps one thread holds all gates of two neighbouring units of a lane, and sends them
// together. K is permuted: of a block of 64 bytes of columns, thread t of a quad holds 16 bytes of
// A and of B, one load each, bf16 columns 8t..8t+7 or f32 columns 4t..4t+3, and they serve as
// columns 2t 2t+1 2t+8 2t+9, or t t+4, of two mma. Both operands are permuted alike, so the sum is
// over the same products. In words of 32 bits the two types are the same.
//
// Where a cluster shares K, a block multiplies its part for the units of all blocks of the cluster,
// its warps in as many sets, each for the units of one. A warp stages what it gathers for all sets:
// block b of the part is gathered by warp b % 8 and multiplied by warp b % k_warps of every set.
// The sums of a unit go to the block that owns it, and every block of a cluster makes all calls.
//
// Data and flag are one here, too: a barrier of the cluster would be a fence that goes to L2 and
// back in every step. Two sums are one access of 64 bits, of which the lowest bit gives way to a
// tag that changes with every second use. A block sends to two places in turn, and reads from all
// others of its cluster in between: whoever has sent use n + 1 has read use n before, so that use
// n + 2 may be sent to where that lay.
#pragma once

#include "kernels/recurrent/persistent_gather.cuh"
#include "kernels/recurrent/persistent_weights.cuh"

namespace unroll::cuda {

// M rows per unit, N tiles of 8 lanes at a time, P as in persistent_exchange.cuh. kSharesK: the
// blocks of a cluster may share K, for which M is 1.
template <class P, int M, int N, bool kSharesK>
struct Product {
  static_assert(!kSharesK || M == 1);
  static constexpr bool kThreeProducts = std::is_same_v<P, F32Product>;
  static constexpr int kInRegisters = register_blocks(M, kThreeProducts, N);
  // An mma waits for the one before it on the same sums: with few tiles, more sets of sums.
  static constexpr int kChains = M * N == 1 ? 4 : N == 1 || M * N < 4 ? 2 : 1;
  // Blocks of K whose loads from shared memory are under way at once, so that a warp does not wait
  // for each: of the numbers that meet rows in registers, and with rows that are not.
  static constexpr int kAtOnce = M > 1 ? 1 : kThreeProducts ? 2 : 4;
  static constexpr int kHeldAtOnce = N == 1 ? kAtOnce : 1;
  static constexpr int kKeptAtOnce = N == 1 ? kAtOnce : N == 2 ? (kAtOnce + 1) / 2 : 1;

  StagedNumbers<P, N, kSharesK> numbers;
  uint32_t held[kInRegisters][M][8];  // of the warp's first unit group
  uint32_t* matrix;                   // the rest; every thread reads only what it wrote
  float* partial;                     // [cluster,unit_groups,M,N,k_warps] fragments
  int blocks_here, held_here;         // of K, which the warp multiplies; the first are in `held`

  GPU_DEVICE Product(const PersistentLayout& l, unsigned char*& raw) : numbers(l, raw) {
    blocks_here = dealt(numbers.part(l), k_warp(l), k_warps(l));
    held_here = l.held < blocks_here ? l.held : blocks_here;
    const int kept = l.cluster * (l.unit_groups * l.slice - l.held_blocks);
    const int received = splits(l) ? 2 * l.cluster * items(l) * 2 : 0;
    matrix = gpu::carve<uint32_t>(raw, size_t(kept) * M * (kPieceBytes / 4));
    partial = gpu::carve<float>(raw, size_t(l.partial_floats) + received);
  }

  // Fetches the matrix: Rows as in persistent_weights.cuh.
  template <class Rows>
  GPU_DEVICE void fetch_matrix(const PersistentLayout& l, const BlockShare& share,
                               const Rows& rows) {
    const int first_unit =
        share.first_unit + (set(l) - rank()) * l.unit_groups * kUnitGroup + 2 * numbers.g;
#pragma unroll
    for (int j = 0; j < kInRegisters; ++j) {
      if (j < held_here) {
        fetch_rows(rows, first_unit, column(l, j), held[j]);
      } else {
#pragma unroll
        for (int m = 0; m < M; ++m) set_rows(held[j][m], {});
      }
    }
    // Loops of unknown length are not unrolled: the registers are full.
#pragma unroll 1
    for (int u = 0; u < l.unit_groups; ++u) {
#pragma unroll 1
      for (int j = u == 0 ? held_here : 0; j < blocks_here; ++j) {
        uint32_t kept[M][8];
        fetch_rows(rows, first_unit + u * kUnitGroup, column(l, j), kept);
#pragma unroll
        for (int m = 0; m < M; ++m) {
#pragma unroll
          for (int half = 0; half < 2; ++half) {
            const uint32_t* const from = kept[m] + 4 * half;
            gpu::store_vec(piece(l, u, j, m, half), Words{from[0], from[1], from[2], from[3]});
          }
        }
      }
    }
    if (!splits(l)) return;
    for (int at = int(threadIdx.x); at < 2 * l.cluster * items(l); at += kThreads)
      received(l, 0, 0)[at] = 0;
    gpu::cluster_sync();  // shared memory of another block may be written once that block is there
  }

  // The numbers times the matrix: in some step. fetch(first) stages the piece of K that begins with
  // the block `first` that the warp gathers. All threads of the block call it, and then finish().
  template <class Fetch>
  GPU_DEVICE void multiply(const PersistentLayout& l, int step, const Fetch& fetch) {
#pragma unroll 1
    for (int first = 0; first < l.warp_blocks; first += l.piece) {
      if (splits(l) && first > 0) gpu::sync_threads();  // what is staged has been multiplied
      fetch(first);
      if (splits(l)) gpu::sync_threads();  // all sets read what is staged
      const int sets = splits(l) ? l.cluster : 1;
      const int begin = first * sets, last = (first + l.piece) * sets;
      const int end = last < blocks_here ? last : blocks_here;
      const int held_end = end < held_here ? end : held_here;
#pragma unroll 1
      for (int u = 0; u < l.unit_groups; ++u) {
        Sums sum{};
        if (u == 0 && begin < held_end)
          multiply_held(l, sum, first, begin, held_end, l.zero * uint32_t(step));
        int j = u == 0 && begin < held_here ? held_here : begin;
#pragma unroll 1
        for (; j + kKeptAtOnce <= end; j += kKeptAtOnce)
          multiply_kept<kKeptAtOnce>(l, sum, u, j, first);
        if constexpr (kKeptAtOnce > 1) {
#pragma unroll 1
          for (; j < end; ++j) multiply_kept<1>(l, sum, u, j, first);
        }
        // The partial sums of the last step, or of the last chunk of lanes, have been read by now.
        if (!splits(l) && u == 0 && first == 0) gpu::sync_threads();
        store_sums(l, sum, u, first > 0);
      }
    }
  }

  // Afterwards every thread reads the sums of its items. `use` counts the calls, from 0. In a
  // cluster each block sends those of the units of the others.
  GPU_DEVICE void finish(const PersistentLayout& l, int use) {
    gpu::sync_threads();
    if (!splits(l)) return;
    uint64_t* const to = received(l, use, rank());
#pragma unroll 1
    for (int at = int(threadIdx.x); at < l.cluster * items(l); at += kThreads) {
      const int owner = at / items(l), item = at % items(l);
      const int slot = item / 2 % gpu::kWarp, tile = item / 64 % N, u = item / 64 / N;
      const Pair v = summed(l, owner * l.unit_groups + u, 0, tile, slot * 4 + item % 2 * 2);
      gpu::store_relaxed(gpu::cluster_map(to + item, owner),
                         (__builtin_bit_cast(uint64_t, v) & ~uint64_t(1)) | tag(use));
    }
  }

  // The rows of the two units of an item, summed over the warps in their order, and over the blocks
  // of a cluster in theirs, once they have come: called for every item, whether it exists or not.
  GPU_DEVICE void sums(const PersistentLayout& l, const Item<N>& item, int use,
                       float (&y)[2][M]) const {
    const int at = ((item.u * N + item.tile) * gpu::kWarp + item.slot) * 2 + item.half;
#pragma unroll
    for (int m = 0; m < M; ++m) {
      const Pair v = splits(l) ? awaited(l, received(l, use, 0) + at, use)
                               : summed(l, item.u, m, item.tile, item.slot * 4 + item.half * 2);
      y[0][m] = v[0];
      y[1][m] = v[1];
    }
  }
  // Before a block of a cluster ends: what it has sent has come, what it is sent too.
  static GPU_DEVICE void leave(const PersistentLayout& l) {
    if (splits(l)) gpu::cluster_sync();
  }

 private:
  static GPU_DEVICE bool splits(const PersistentLayout& l) {
    return StagedNumbers<P, N, kSharesK>::splits(l);
  }
  static GPU_DEVICE int rank() { return kSharesK ? gpu::cluster_rank() : 0; }
  // Whose units the warp multiplies, by rank, and which blocks of K: k_warp, k_warp + k_warps, ..
  GPU_DEVICE int set(const PersistentLayout& l) const {
    return kSharesK ? numbers.warp >> l.k_shift : 0;
  }
  GPU_DEVICE int k_warp(const PersistentLayout& l) const {
    return kSharesK ? numbers.warp & (l.k_warps - 1) : numbers.warp;
  }
  static GPU_DEVICE int k_warps(const PersistentLayout& l) { return kSharesK ? l.k_warps : kWarps; }
  // Pairs of units and lanes of which a block makes a chunk's pointwise part.
  static GPU_DEVICE int items(const PersistentLayout& l) {
    return l.unit_groups * N * 2 * gpu::kWarp;
  }
  // First of this thread's columns of the j-th block of K that its warp multiplies.
  GPU_DEVICE int column(const PersistentLayout& l, int j) const {
    return (numbers.k_begin(l) + k_warp(l) + j * k_warps(l)) * kBlockK<P> + kWide16<P> * numbers.t;
  }
  GPU_DEVICE uint32_t* piece(const PersistentLayout& l, int u, int j, int m, int half) const {
    const int kept = l.unit_groups * l.slice - l.held_blocks;
    const int block = set(l) * kept + u * l.slice + k_warp(l) + j * k_warps(l) - l.held_blocks;
    return matrix + (((block * M + m) * 2 + half) * gpu::kWarp + numbers.lane) * 4;
  }
  GPU_DEVICE float* fragment(const PersistentLayout& l, int u, int m, int n, int w) const {
    return partial + (((u * M + m) * N + n) * k_warps(l) + w) * gpu::kWarp * 4;
  }
  using Pair = gpu::Vec<float, 2>;
  // What block `rank` of the cluster sends of this block's units: [items] pairs.
  GPU_DEVICE uint64_t* received(const PersistentLayout& l, int use, int rank) const {
    return reinterpret_cast<uint64_t*>(partial + l.partial_floats) +
           (use % 2 * l.cluster + rank) * items(l);
  }
  // Of what is sent in a use: not that of what was sent to its place before, nor of zeros.
  static GPU_DEVICE uint64_t tag(int use) { return uint64_t(~use >> 1 & 1); }
  // The sum of the pairs that the blocks of the cluster send, when all have come.
  GPU_DEVICE Pair awaited(const PersistentLayout& l, const uint64_t* from, int use) const {
    uint64_t sent[kMaxCluster];
#pragma unroll
    for (int i = 0; i < kMaxCluster; ++i)
      sent[i] = i < l.cluster ? gpu::load_relaxed(from + i * items(l)) : tag(use);
    Pair sum{};
#pragma unroll
    for (int i = 0; i < kMaxCluster; ++i) {
      while ((sent[i] & 1) != tag(use)) sent[i] = gpu::poll_relaxed(from + i * items(l));
      const Pair v = __builtin_bit_cast(Pair, sent[i] & ~uint64_t(1));
      sum[0] += v[0];
      sum[1] += v[1];
    }
    return sum;
  }

  // Two numbers of a fragment, summed over the warps.
  // All are loaded before the first is added, since a load takes as long as ten additions.
  GPU_DEVICE Pair summed(const PersistentLayout& l, int u, int m, int n, int at) const {
    const float* const from = fragment(l, u, m, n, 0) + at;
    const int count = k_warps(l);
    Pair v[kWarps];
#pragma unroll
    for (int i = 0; i < kWarps; ++i)
      v[i] = i < count ? gpu::load_vec<2>(from + i * gpu::kWarp * 4) : Pair{};
#pragma unroll
    for (int i = 1; i < kWarps; ++i) {
      v[0][0] += v[i][0];
      v[0][1] += v[i][1];
    }
    return v[0];
  }

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
        float* const to =
            fragment(l, set(l) * l.unit_groups + u, m, n, k_warp(l)) + numbers.lane * 4;
        gpu::Vec<float, 4> v{};
        if (more) v = gpu::load_vec<4>(to);
#pragma unroll
        for (int e = 0; e < 4; ++e) {
#pragma unroll
          for (int chain = 0; chain < kChains; ++chain) v[e] += sum.v[chain][m][n][swapped(e)];
        }
        gpu::store_vec(to, v);
      }
    }
  }
  // Where word e of the first (half 0) or second of a thread's two rows is among the operands of a
  // block of K: those of an mma are next to each other, as it takes them, so that none is moved.
  static constexpr int operand_of(int half, int e) { return e / 2 * 4 + e % 2 * 2 + half; }
  // All rows of a thread's two units in a block of K.
  template <class Rows>
  static GPU_DEVICE void fetch_rows(const Rows& rows, int unit, int k, uint32_t (&to)[M][8]) {
    uint32_t bits[M][Rows::kBitWords] = {};
    if (rows.mask) {
#pragma unroll
      for (int m = 0; m < M; ++m) rows.load_bits(m, unit, k, bits[m]);
    }
#pragma unroll
    for (int m = 0; m < M; ++m) {
      Words w[2] = {};
      rows.load(m, unit, k, w);
      set_rows(to[m], w);
    }
    if (rows.mask) {
#pragma unroll
      for (int m = 0; m < M; ++m) mask_rows(to[m], rows.mask, rows.kept(unit, k, bits[m]));
    }
#pragma unroll
    for (int m = 0; m < M; ++m) {
#pragma unroll
      for (int e = 0; e < 8; ++e) to[m][e] = operand<P>(to[m][e]);
    }
  }
  static GPU_DEVICE void set_rows(uint32_t (&rows)[8], const Words (&w)[2]) {
#pragma unroll
    for (int e = 0; e < 8; ++e) rows[operand_of(e / 4, e % 4)] = w[e / 4][e % 4];
  }
  // kept: bit e of byte `half` says whether number e of that row is.
  static GPU_DEVICE void mask_rows(uint32_t (&rows)[8], const MaskedBy& mask, uint32_t kept) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Words w{};
#pragma unroll
      for (int e = 0; e < 4; ++e) w[e] = rows[operand_of(half, e)];
      using Numbers = gpu::Vec<typename P::Element, kWide16<P>>;
      Numbers v = __builtin_bit_cast(Numbers, w);
#pragma unroll
      for (int e = 0; e < kWide16<P>; ++e) v[e] = mask(v[e], kept >> (8 * half + e) & 1u);
      w = __builtin_bit_cast(Words, v);
#pragma unroll
      for (int e = 0; e < 4; ++e) rows[operand_of(half, e)] = w[e];
    }
  }
  // A block of K is two mma for every tile of rows and of lanes; j: its number, any.
  static GPU_DEVICE void multiply_row(Sums& sum, int j, int m, const uint32_t (&rows)[8],
                                      const Words (&b)[N]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const uint32_t* const r = rows + 4 * half;
      const uint32_t a[4] = {r[0], r[1], r[2], r[3]};
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const uint32_t x[2] = {b[n][2 * half], b[n][2 * half + 1]};
        P::multiply(sum.v[(2 * j + half) % kChains][m][n], a, x);
      }
    }
  }
  // What is staged of the j-th block of K that the warp multiplies, in the piece from `first` on.
  GPU_DEVICE void load_staged(const PersistentLayout& l, int first, int j, Words (&b)[N]) const {
    numbers.load(numbers.words(first, k_warp(l) + j * k_warps(l)), b);
  }
  // The blocks of K from `begin` to before `end`, which is after it, whose rows are in registers.
  // True f32 splits a row once for all tiles of lanes. What is split never changes, so a compiler
  // would do it once for all steps and find no registers for the halves; `zero` is new in each.
  GPU_DEVICE void multiply_held(const PersistentLayout& l, Sums& sum, int first, int begin, int end,
                                uint32_t zero) const {
#pragma unroll
    for (int j0 = 0; j0 < kInRegisters; j0 += kHeldAtOnce) {
      if (j0 >= end || j0 + kHeldAtOnce <= begin) continue;
      Words b[kHeldAtOnce][N];
#pragma unroll
      for (int d = 0; d < kHeldAtOnce; ++d) {
        const int j = j0 + d < end ? j0 + d : end - 1;
        load_staged(l, first, j < begin ? begin : j, b[d]);
      }
#pragma unroll
      for (int d = 0; d < kHeldAtOnce && j0 + d < kInRegisters; ++d) {
        if (j0 + d < begin || j0 + d >= end) continue;
#pragma unroll
        for (int m = 0; m < M; ++m) {
          uint32_t rows[8];
#pragma unroll
          for (int e = 0; e < 8; ++e)
            rows[e] = kThreeProducts ? held[j0 + d][m][e] ^ zero : held[j0 + d][m][e];
          multiply_row(sum, d, m, rows, b[d]);
        }
      }
    }
  }
  // D blocks of K from j on, one tile of rows at a time, since there are no registers for more.
  template <int D>
  GPU_DEVICE void multiply_kept(const PersistentLayout& l, Sums& sum, int u, int j,
                                int first) const {
    Words b[D][N];
#pragma unroll
    for (int d = 0; d < D; ++d) load_staged(l, first, j + d, b[d]);
#pragma unroll
    for (int m = 0; m < M; ++m) {
      Words v[D][2];
#pragma unroll
      for (int d = 0; d < D; ++d) {
#pragma unroll
        for (int half = 0; half < 2; ++half)
          v[d][half] = gpu::load_vec<4>(piece(l, u, j + d, m, half));
      }
#pragma unroll
      for (int d = 0; d < D; ++d) {
        const uint32_t rows[8] = {v[d][0][0], v[d][0][1], v[d][0][2], v[d][0][3],
                                  v[d][1][0], v[d][1][1], v[d][1][2], v[d][1][3]};
        multiply_row(sum, d, m, rows, b[d]);
      }
    }
  }
};

}  // namespace unroll::cuda
