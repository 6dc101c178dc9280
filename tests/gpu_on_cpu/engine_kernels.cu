// Kernels for the engine's own tests.
#include "tests/gpu_on_cpu/engine_kernels.h"

#include "kernels/base/pack.cuh"
#include "kernels/base/reduce.cuh"

namespace unroll::gpu_on_cpu {
namespace {

template <class T>
GPU_KERNEL void reduce_kernel(const T* x, T* y) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  y[4 * i] = warp_sum(x[i]);
  y[4 * i + 1] = warp_max(x[i]);
  y[4 * i + 2] = block_sum(x[i]) - block_sum(x[i]) + block_sum(x[i]);  // at once again
  y[4 * i + 3] = block_max(x[i]);
}

template <int N>
GPU_KERNEL void double_rows_kernel(const float* x, float* y, int columns, int ld) {
  float* to = y + int64_t(blockIdx.x) * ld;
  for_each_pack<N>(x + int64_t(blockIdx.x) * ld, columns, int(threadIdx.x), int(blockDim.x),
                   [&](int64_t j, auto v) {
                     for (float& e : v.v) e *= 2;
                     gpu::store_vec(to + j, v);
                   });
}

GPU_KERNEL void grid_barriers_kernel(uint32_t* counts, uint32_t* arrived, uint32_t* y, int steps) {
  gpu::GridBarrier barrier(arrived);
  uint32_t seen = 0;
  for (int t = 0; t < steps; ++t) {
    // Not the thread that tells the other blocks.
    if (threadIdx.x == blockDim.x - 1) gpu::atomic_add(&counts[t], 1u);
    t % 2 ? barrier.sync() : gpu::grid_sync();
    seen += counts[t];
  }
  if (threadIdx.x == 0) y[blockIdx.x] = seen;
}

GPU_KERNEL void order_kernel(uint32_t* position, uint32_t* order) {
  const uint32_t me = blockIdx.x * blockDim.x + threadIdx.x;
  for (int round = 0; round < 3; ++round) {
    order[gpu::atomic_add(position, 1u)] = me;
    gpu::sync_threads();
  }
}

GPU_KERNEL void carve_kernel(float* y, int n, int extra) {
  GPU_DYN_SHARED(raw);
  float* first = gpu::carve<float>(raw, size_t(n));
  float* second = gpu::carve<float>(raw, size_t(n));
  for (int i = int(threadIdx.x); i < n + extra; i += int(blockDim.x)) first[i] = float(i);
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) second[i] = float(2 * i);
  gpu::sync_threads();
  for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) y[i] = first[i] + second[n - 1 - i];
}

constexpr int kBarrierLine = __LINE__ + 5;
GPU_KERNEL void one_barrier_kernel(float* y) {
  GPU_SHARED(tile, float[64]);
  const int i = int(threadIdx.x);
  tile[i] = float(i);
  gpu::sync_threads();
  y[i] = tile[(i + 1) % 64];
}

GPU_KERNEL void copy_kernel(const float* x, float* y, int n) {
  const int i = int(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < n) y[i] = x[i];
}

GPU_KERNEL void empty_kernel() {}

template <class T>
void reduce(const T* x, T* y, int blocks, int threads) {
  gpu::launch(reduce_kernel<T>, gpu::Launch{.grid = unsigned(blocks), .block = unsigned(threads)},
              nullptr, x, y);
}

}  // namespace

void launch_reduce(const float* x, float* y, int blocks, int threads) {
  reduce(x, y, blocks, threads);
}
void launch_reduce(const double* x, double* y, int blocks, int threads) {
  reduce(x, y, blocks, threads);
}
int launch_double_rows(const float* x, float* y, int rows, int columns, int ld) {
  const int width = pack_width<float>(columns, {{x, ld}, {y, ld}});
  const gpu::Launch shape{.grid = unsigned(rows), .block = 64};
  width > 1 ? gpu::launch(double_rows_kernel<kPack<float>>, shape, nullptr, x, y, columns, ld)
            : gpu::launch(double_rows_kernel<1>, shape, nullptr, x, y, columns, ld);
  return width;
}
void launch_grid_barriers(uint32_t* counts, uint32_t* arrived, uint32_t* y, int blocks, int steps) {
  gpu::launch(grid_barriers_kernel,
              gpu::Launch{.grid = unsigned(blocks), .block = 40, .cooperative = true}, nullptr,
              counts, arrived, y, steps);
}
void launch_order(uint32_t* position, uint32_t* order, int blocks, int threads) {
  gpu::launch(order_kernel, gpu::Launch{.grid = unsigned(blocks), .block = unsigned(threads)},
              nullptr, position, order);
}
void launch_carve(float* y, int n, int extra, uint64_t shared_bytes) {
  gpu::launch(carve_kernel, gpu::Launch{.block = 64, .shared_bytes = shared_bytes}, nullptr, y, n,
              extra);
}
void launch_one_barrier(float* y, int* line) {
  *line = kBarrierLine;
  gpu::launch(one_barrier_kernel, gpu::Launch{.block = 64}, nullptr, y);
}
void launch_copy(const float* x, float* y, int n) {
  gpu::launch(copy_kernel, gpu::Launch{.grid = unsigned(n + 63) / 64, .block = 64}, nullptr, x, y,
              n);
}
void launch_empty(unsigned blocks, unsigned threads, uint64_t shared_bytes, bool cooperative) {
  gpu::launch(empty_kernel,
              gpu::Launch{.grid = blocks,
                          .block = threads,
                          .shared_bytes = shared_bytes,
                          .cooperative = cooperative},
              nullptr);
}

}  // namespace unroll::gpu_on_cpu
