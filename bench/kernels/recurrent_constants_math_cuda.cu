// The kernels of recurrent_constants.h that compute: products, sums over warps, shared memory.
#include <cmath>

#include "bench/kernels/recurrent_constants.cuh"

namespace unroll::bench {
namespace {

constexpr int kBlocksOfK = 4, kRowTiles = 4;

template <bool kTf32, bool kInShared, int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void math_kernel(MathRun run) {
  constexpr int kMatrix = kBlocksOfK * kRowTiles * 2 * gpu::kWarp * 4;  // words of a warp
  constexpr int kNumbers = kBlocksOfK * N * gpu::kWarp * 4;
  GPU_DYN_SHARED(raw);
  uint32_t* all_numbers = gpu::carve<uint32_t>(raw, size_t(kWarps) * kNumbers);
  uint32_t* all_kept = nullptr;
  if constexpr (kInShared) all_kept = gpu::carve<uint32_t>(raw, size_t(kWarps) * kMatrix);
  const int warp = int(threadIdx.x) / gpu::kWarp, lane = int(threadIdx.x) % gpu::kWarp;
  uint32_t* numbers = all_numbers + warp * kNumbers + lane * 4;
  uint32_t* kept = kInShared ? all_kept + warp * kMatrix + lane * 4 : nullptr;
  const uint32_t* a = run.a + warp * kMatrix + lane * 4;
  // Every thread reads only what it wrote.
  for (int i = 0; i < kBlocksOfK * N; ++i)
    gpu::store_vec(numbers + i * 128,
                   gpu::load_vec<4>(run.b + warp * kNumbers + lane * 4 + i * 128));
  constexpr int kHeld = kInShared ? 1 : kBlocksOfK;
  uint32_t held[kHeld][kRowTiles][8];
  if constexpr (kInShared) {
#pragma unroll 1
    for (int i = 0; i < kBlocksOfK * kRowTiles * 2; ++i)
      gpu::store_vec(kept + i * 128, gpu::load_vec<4>(a + i * 128));
  } else {
#pragma unroll
    for (int i = 0; i < kBlocksOfK * kRowTiles * 2; ++i) {
      const Words w = gpu::load_vec<4>(a + i * 128);
#pragma unroll
      for (int e = 0; e < 4; ++e) held[i / 8][i / 2 % 4][i % 2 * 4 + e] = w[e];
    }
  }
  float sum[kRowTiles][N][4] = {};
#pragma unroll 1
  for (int round = 0; round < run.rounds; ++round) {
#pragma unroll
    for (int j = 0; j < kBlocksOfK; ++j) {
      // Another block in every round: the loads stay in the loop.
      const int turn = (j + round) % kBlocksOfK;
      Words number[N];
#pragma unroll
      for (int n = 0; n < N; ++n) number[n] = gpu::load_vec<4>(numbers + (turn * N + n) * 128);
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        uint32_t rows[8];
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          Words w{};
          if constexpr (kInShared)
            w = gpu::load_vec<4>(kept + ((turn * kRowTiles + m) * 2 + half) * 128);
#pragma unroll
          for (int e = 0; e < 4; ++e)
            rows[half * 4 + e] = kInShared ? w[e] : held[j % kHeld][m][half * 4 + e];
        }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int e = 2 * half;
          const uint32_t fragment[4] = {rows[e], rows[e + 4], rows[e + 1], rows[e + 5]};
#pragma unroll
          for (int n = 0; n < N; ++n) {
            const uint32_t lanes[2] = {number[n][e], number[n][e + 1]};
            if constexpr (kTf32)
              gpu::mma_m16n8k8_tf32(sum[m][n], fragment, lanes);
            else
              gpu::mma_m16n8k16_bf16(sum[m][n], fragment, lanes);
          }
        }
      }
    }
  }
  if (blockIdx.x != 0) return;
#pragma unroll
  for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        run.d[(((warp * kRowTiles + m) * N + n) * gpu::kWarp + lane) * 4 + e] = sum[m][n][e];
}

template <int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void reduce_kernel(float* total, int rounds) {
  GPU_DYN_SHARED(raw);
  constexpr int kFragments = kRowTiles * N;
  float* partial = gpu::carve<float>(raw, size_t(kFragments) * kWarps * gpu::kWarp * 4);
  const int warp = int(threadIdx.x) / gpu::kWarp, lane = int(threadIdx.x) % gpu::kWarp;
  float sum = 0;
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
    gpu::Vec<float, 4> v;
#pragma unroll
    for (int e = 0; e < 4; ++e) v[e] = float((warp + round) % kWarps);
#pragma unroll
    for (int f = 0; f < kFragments; ++f)
      gpu::store_vec(partial + ((f * kWarps + warp) * gpu::kWarp + lane) * 4, v);
    gpu::sync_threads();
    // A thread sums two numbers of every row tile, as in the persistent schedule.
    for (int item = int(threadIdx.x); item < 64 * N; item += kThreads) {
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll 4
        for (int w = 0; w < kWarps; ++w) {
          const auto two = gpu::load_vec<2>(
              partial + (((m * N + item / 64) * kWarps + w) * gpu::kWarp + item / 2 % 32) * 4 +
              item % 2 * 2);
          sum += two[0] + two[1];
        }
      }
    }
    gpu::sync_threads();
  }
  if (blockIdx.x == 0) total[threadIdx.x] = sum;
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void shared_kernel(uint32_t* sums, int rounds) {
  constexpr int kVectors = kSharedWords / 4 / kThreads;
  GPU_DYN_SHARED(raw);
  uint32_t* words = gpu::carve<uint32_t>(raw, kSharedWords);
  for (int i = int(threadIdx.x); i < kSharedWords; i += kThreads) words[i] = uint32_t(i);
  gpu::sync_threads();
  uint32_t x = 0;
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      // Another place in every round: the loads stay in the loop.
      const Words w =
          gpu::load_vec<4>(words + (threadIdx.x + (i + round) % kVectors * kThreads) * 4);
      x ^= w[0] + w[1] + w[2] + w[3];
    }
    x = x << 1 | x >> 31;
  }
  if (blockIdx.x == 0) sums[threadIdx.x] = x;
}

GPU_KERNEL void clock_kernel(float* y, int rounds) {
  float x = y[threadIdx.x];
#pragma unroll 1
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < 64; ++i) x = fmaf(x, 0.5f, 1.0f);
  }
  y[threadIdx.x] = x;
}

template <bool kTf32, bool kInShared>
void launch_math(CUstream_st* stream, const MathRun& run) {
  const size_t bytes =
      gpu::carve_bytes<uint32_t>(size_t(kWarps) * kBlocksOfK * run.n_tiles * 128) +
      (kInShared ? gpu::carve_bytes<uint32_t>(size_t(kWarps) * kBlocksOfK * kRowTiles * 256) : 0);
  const gpu::Launch shape = shape_of(run.blocks, bytes);
  switch (run.n_tiles) {
    case 1:
      return gpu::launch(math_kernel<kTf32, kInShared, 1>, shape, stream, run);
    case 2:
      return gpu::launch(math_kernel<kTf32, kInShared, 2>, shape, stream, run);
    default:
      return gpu::launch(math_kernel<kTf32, kInShared, 3>, shape, stream, run);
  }
}

}  // namespace

void run_math(CUstream_st* stream, const MathRun& run) {
  if (run.tf32)
    run.in_shared ? launch_math<true, true>(stream, run) : launch_math<true, false>(stream, run);
  else
    run.in_shared ? launch_math<false, true>(stream, run) : launch_math<false, false>(stream, run);
}

void run_reduce(CUstream_st* stream, float* total, int n_tiles, int rounds, int blocks) {
  const gpu::Launch shape = shape_of(blocks, size_t(kRowTiles) * n_tiles * kWarps * 512);
  switch (n_tiles) {
    case 1:
      return gpu::launch(reduce_kernel<1>, shape, stream, total, rounds);
    case 2:
      return gpu::launch(reduce_kernel<2>, shape, stream, total, rounds);
    default:
      return gpu::launch(reduce_kernel<3>, shape, stream, total, rounds);
  }
}

void run_shared(CUstream_st* stream, uint32_t* sums, int rounds, int blocks) {
  gpu::launch(shared_kernel, shape_of(blocks, size_t(kSharedWords) * 4), stream, sums, rounds);
}

void run_clock(CUstream_st* stream, float* y, int rounds) {
  gpu::Launch shape;
  shape.block.x = gpu::kWarp;
  gpu::launch(clock_kernel, shape, stream, y, rounds);
}

}  // namespace unroll::bench
