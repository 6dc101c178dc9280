// The product inside a fused step: y[16 M, B] = W[16 M, K] x[K, B] for the rows of one block and
// all of K, on tensor cores, f32 sums.
//
// Forward a block has 16 units and M = G tiles of R, one for each gate, so that the thread which
// holds gate 0 of a unit and lane in tile 0 holds the other gates at the same place of the other
// tiles. Backward it has 16 units of R transposed, M = 1 and K = G H.
//
// Warps share K: each takes every eighth pair of k-tiles, fetches W and x for it with asynchronous
// copies that nobody else reads, so without a barrier, and adds into its own sums; the eight sums
// meet in shared memory at the end, added in a fixed order.
//
// What a step costs at least is what its blocks read from L2: R once for every 32 lanes, and x once
// for every block. LSTM, bf16, B = 20 (24 with padding), H = 650, 1150, 1500 forward: 3.4 + 1.3,
// 10.6 + 4.0, 18 + 6.8 MB, at 5.5 TB/s 0.9, 2.7, 4.5 us; backward the vector has G H entries, so
// 3.4 + 5.1, 10.6 + 15.9, 18 + 27 MB. On sm_90 W of the first slots is read under the step before.
// Two blocks fit on a multiprocessor: 96 KB of shared memory and 128 registers a thread.
#pragma once

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/exec.h"

namespace unroll::cuda {

inline constexpr int kStepWarps = 8, kStepThreads = 32 * kStepWarps;
inline constexpr int kUnitTile = 16;                           // units of a block
inline constexpr int kLaneTiles = 4, kLanes = 8 * kLaneTiles;  // lanes of a block
inline constexpr int kTileWords = 128;                         // 32-bit words, four to a thread

// Operands of a tile of W, 16 rows, and of two tiles of x, 8 lanes: 16 bytes for each thread of a
// warp, in the order of gpu::mma_*.
struct Bf16Product {
  using Element = bf16;
  static constexpr int kTileK = 16;  // columns of a tile
  // Column of element e of a thread's 8, in a tile of W; rows are those of weight_row.
  GPU_HD static int weight_column(int lane, int e) { return 2 * (lane % 4) + 8 * (e / 4) + e % 2; }
  GPU_HD static int weight_row(int lane, int e) { return lane / 4 + 8 * (e / 2 % 2); }
  // Which of the two tiles of x, and its row there.
  GPU_HD static int vector_row(int lane, int e) {
    return kTileK * (e / 4) + 2 * (lane % 4) + 8 * (e / 2 % 2) + e % 2;
  }
  // The element of the vectors that holds row k, seen from its pair of tiles.
  GPU_HD static int thread_of(int k) { return k % 8 / 2; }
  GPU_HD static int element_of(int k) { return k / kTileK * 4 + k % kTileK / 8 * 2 + k % 2; }
  GPU_DEVICE static void multiply(float (&d)[4], const uint32_t (&w)[4], const uint32_t (&x)[2]) {
    gpu::mma_m16n8k16_bf16(d, w, x);
  }
};

// 32-bit operands; those of TF32 were rounded when they were packed.
struct Tf32Product {
  using Element = float;
  static constexpr int kTileK = 8;
  GPU_HD static int weight_column(int lane, int e) { return lane % 4 + 4 * (e / 2); }
  GPU_HD static int weight_row(int lane, int e) { return lane / 4 + 8 * (e % 2); }
  GPU_HD static int vector_row(int lane, int e) { return lane % 4 + 4 * e; }
  GPU_HD static int thread_of(int k) { return k % 4; }
  GPU_HD static int element_of(int k) { return k / 4; }
  GPU_DEVICE static void multiply(float (&d)[4], const uint32_t (&w)[4], const uint32_t (&x)[2]) {
    gpu::mma_m16n8k8_tf32(d, w, x);
  }
};

// True f32 from three TF32 products: v = high + low, each 11 bits; low * low is below the last bit.
struct F32Product : Tf32Product {
  GPU_DEVICE static float as_float(uint32_t bits) { return __builtin_bit_cast(float, bits); }
  template <int N>
  GPU_DEVICE static void split(const uint32_t (&v)[N], uint32_t (&high)[N], uint32_t (&low)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      high[i] = gpu::to_tf32(as_float(v[i]));
      low[i] = gpu::to_tf32(as_float(v[i]) - as_float(high[i]));
    }
  }
  GPU_DEVICE static void multiply(float (&d)[4], const uint32_t (&w)[4], const uint32_t (&x)[2]) {
    uint32_t w_high[4], w_low[4], x_high[2], x_low[2];
    split(w, w_high, w_low);
    split(x, x_high, x_low);
    gpu::mma_m16n8k8_tf32(d, w_low, x_high);
    gpu::mma_m16n8k8_tf32(d, w_high, x_low);
    gpu::mma_m16n8k8_tf32(d, w_high, x_high);
  }
};

// Calls body(Bf16Product{}), body(Tf32Product{}) or body(F32Product{}).
template <class Body>
void with_product(const Exec& exec, DType act, Body&& body) {
  if (act == DType::bf16) return body(Bf16Product{});
  return exec.matmul == MatmulMode::tf32 ? body(Tf32Product{}) : body(F32Product{});
}

// What a product takes for v; with `round`, f32 is rounded to TF32.
template <class P>
GPU_DEVICE typename P::Element operand_of(typename P::Element v, bool round) {
  if constexpr (sizeof(v) == 4) return round ? __builtin_bit_cast(float, gpu::to_tf32(v)) : v;
  return v;
}

// Pairs of k-tiles.
template <class P>
GPU_HD int64_t pairs_of(int64_t K) {
  return (K + 2 * P::kTileK - 1) / (2 * P::kTileK);
}

// The element of a packed vector that is entry k of lane b.
template <class P>
GPU_HD int64_t mail_index(int64_t pairs, int64_t b, int64_t k) {
  constexpr int kPairK = 2 * P::kTileK, kPerThread = int(16 / sizeof(typename P::Element));
  const int in_pair = int(k % kPairK);
  const int64_t thread = ((b / 8) * pairs + k / kPairK) * 32 + b % 8 * 4 + P::thread_of(in_pair);
  return thread * kPerThread + P::element_of(in_pair);
}

template <class P, int M>
class StepProduct {
 public:
  static constexpr int kSlots = M > 1 ? 2 : 4;
  static constexpr int kSlotWords = (2 * M + kLaneTiles) * kTileWords;  // of one warp
  static constexpr int kRingWords = kStepWarps * kSlots * kSlotWords;
  static constexpr int kSumWords = kStepWarps * M * kLaneTiles * kTileWords;
  static constexpr int kSharedWords = kRingWords > kSumWords ? kRingWords : kSumWords;
  static constexpr size_t kSharedBytes = gpu::carve_bytes<uint32_t>(kSharedWords);

  // `weights`: of this block; `lane_tiles`: groups of 8 lanes that exist, at most kLaneTiles.
  GPU_DEVICE StepProduct(uint32_t* shared, const uint32_t* weights, int pairs, int lane_tiles)
      : shared_(shared),
        weights_(weights + threadIdx.x % 32 * 4),
        pairs_(pairs),
        lane_tiles_(lane_tiles),
        warp_(int(threadIdx.x) / 32) {
    ring_ = shared + warp_ * (kSlots * kSlotWords) + threadIdx.x % 32 * 4;
  }

  // Begins to fetch W for all slots: before the steps ahead have ended.
  GPU_DEVICE void fetch_weights() {
    for (int i = 0; i < kSlots; ++i) {
      weights_to_slot(i);
      gpu::cp_async_commit();
    }
  }

  // The sums of this warp; x starts at the first of this block's groups of lanes.
  GPU_DEVICE void multiply(const uint32_t* x, float (&sums)[M][kLaneTiles][4]) {
    x_ = x + threadIdx.x % 32 * 4;
    for (int i = 0; i < kSlots; ++i) {
      vector_to_slot(i);
      gpu::cp_async_commit();
    }
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < kLaneTiles; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) sums[m][n][e] = 0;
    for (int i = 0; warp_ + kStepWarps * i < pairs_; ++i) {
      gpu::cp_async_wait<kSlots - 1>();
      add_slot(ring_ + i % kSlots * kSlotWords, sums);
      // The operands are in registers by now; the slot is free.
      weights_to_slot(i + kSlots);
      vector_to_slot(i + kSlots);
      gpu::cp_async_commit();
    }
    // Every copy was for a slot that was waited for: none is under way.
  }

  // Puts the sums where gather() finds them. The ring is theirs once every warp is done with it.
  GPU_DEVICE void spread(const float (&sums)[M][kLaneTiles][4]) {
    gpu::sync_threads();
    float* const mine = reinterpret_cast<float*>(shared_) + warp_ * (M * kLaneTiles * kTileWords) +
                        threadIdx.x % 32 * 4;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < kLaneTiles; ++n) {
        gpu::Vec<float, 4> v;
#pragma unroll
        for (int e = 0; e < 4; ++e) v[e] = sums[m][n][e];
        gpu::store_vec(mine + (m * kLaneTiles + n) * kTileWords, v);
      }
    gpu::sync_threads();
  }

  // A thread finishes unit() of the block for the two lanes lane() and lane() + 1 of the block.
  GPU_DEVICE static int unit() { return int(threadIdx.x) % 32 / 4 + int(threadIdx.x) / 32 % 2 * 8; }
  GPU_DEVICE static int lane() { return int(threadIdx.x) / 64 * 8 + int(threadIdx.x) % 4 * 2; }
  // y of that unit, tile by tile.
  GPU_DEVICE void gather(float (&y)[2][M]) const {
    const float* const first = reinterpret_cast<const float*>(shared_) +
                               int(threadIdx.x) / 64 * kTileWords + int(threadIdx.x) % 32 * 4 +
                               int(threadIdx.x) / 32 % 2 * 2;
#pragma unroll
    for (int m = 0; m < M; ++m) {
      y[0][m] = y[1][m] = 0;
#pragma unroll
      for (int w = 0; w < kStepWarps; ++w) {
        const auto v = gpu::load_vec<2>(first + (w * M + m) * (kLaneTiles * kTileWords));
        y[0][m] += v[0];
        y[1][m] += v[1];
      }
    }
  }

 private:
  GPU_DEVICE void weights_to_slot(int i) {
    const int pair = warp_ + kStepWarps * i;
    if (pair >= pairs_) return;
    uint32_t* const slot = ring_ + i % kSlots * kSlotWords;
    const uint32_t* const from = weights_ + int64_t(pair) * (2 * M * kTileWords);
#pragma unroll
    for (int j = 0; j < 2 * M; ++j) gpu::cp_async16(slot + j * kTileWords, from + j * kTileWords);
  }
  GPU_DEVICE void vector_to_slot(int i) {
    const int pair = warp_ + kStepWarps * i;
    if (pair >= pairs_) return;
    uint32_t* const slot = ring_ + i % kSlots * kSlotWords + 2 * M * kTileWords;
    for (int n = 0; n < lane_tiles_; ++n)
      gpu::cp_async16(slot + n * kTileWords, x_ + (int64_t(n) * pairs_ + pair) * kTileWords);
  }
  GPU_DEVICE void add_slot(const uint32_t* slot, float (&sums)[M][kLaneTiles][4]) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      uint32_t x[kLaneTiles][2];
#pragma unroll
      for (int n = 0; n < kLaneTiles; ++n)
        if (n < lane_tiles_) {
          const auto v = gpu::load_vec<2>(slot + (2 * M + n) * kTileWords + 2 * half);
          x[n][0] = v[0];
          x[n][1] = v[1];
        }
#pragma unroll
      for (int m = 0; m < M; ++m) {
        const auto v = gpu::load_vec<4>(slot + (half * M + m) * kTileWords);
        const uint32_t w[4] = {v[0], v[1], v[2], v[3]};
#pragma unroll
        for (int n = 0; n < kLaneTiles; ++n)
          if (n < lane_tiles_) P::multiply(sums[m][n], w, x[n]);
      }
    }
  }

  uint32_t* shared_;
  uint32_t* ring_;
  const uint32_t* weights_;
  const uint32_t* x_ = nullptr;
  int pairs_, lane_tiles_, warp_;
};

// 32-bit words of the packed R of one block.
template <class P, int M>
GPU_HD int64_t block_words(int64_t pairs) {
  return pairs * (2 * M * kTileWords);
}

// One block for every 16 units and 32 lanes.
template <class P, int M>
gpu::Launch step_launch(int64_t B, int64_t H, bool early) {
  gpu::Launch shape;
  shape.grid = dim3(unsigned((H + kUnitTile - 1) / kUnitTile), unsigned((B + kLanes - 1) / kLanes));
  shape.block = dim3(kStepThreads);
  shape.shared_bytes = StepProduct<P, M>::kSharedBytes;
  shape.early_start = early;
  return shape;
}

}  // namespace unroll::cuda
