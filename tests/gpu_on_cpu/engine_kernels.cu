// Kernels for the engine's own tests.
#include "tests/gpu_on_cpu/engine_kernels.h"

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

// Each block hands the next one of its cluster the sum of what all of them left.
GPU_KERNEL void cluster_sums_kernel(const float* x, float* y, int n, int cluster, int rounds) {
  GPU_SHARED(weight, float);
  GPU_DYN_SHARED(raw);
  float* mine = gpu::carve<float>(raw, size_t(n));
  float* inbox = gpu::carve<float>(raw, size_t(n));
  const int tid = int(threadIdx.x), threads = int(blockDim.x), rank = gpu::cluster_rank();
  const int64_t blocks = gridDim.x * gridDim.y, block = blockIdx.y * gridDim.x + blockIdx.x;
  for (int round = 0; round < rounds; ++round) {
    const int64_t at = (round * blocks + block) * n;
    for (int i = tid; i < n; i += threads) mine[i] = x[at + i];
    if (tid == 0) weight = float(round + rank + 1);
    gpu::cluster_sync();
    float* to = gpu::cluster_map(inbox, (rank + 1) % cluster);
    for (int i = 4 * tid; i < n; i += 4 * threads) {
      gpu::Vec<float, 4> sum{};
      for (int r = 0; r < cluster; ++r) {
        const auto v = gpu::load_vec<4>(gpu::cluster_map(mine, r) + i);
        for (int e = 0; e < 4; ++e) sum[e] += *gpu::cluster_map(&weight, r) * v[e];
      }
      gpu::store_vec(to + i, sum);
    }
    gpu::cluster_sync();
    for (int i = tid; i < n; i += threads) y[at + i] = inbox[i] + float(rank);
  }
}

// Each block adds its number to what the one before it left, told by a word in its shared memory.
GPU_KERNEL void cluster_ring_kernel(float* y, int cluster) {
  GPU_SHARED(told, uint32_t);
  GPU_SHARED(sum, float);
  const int rank = gpu::cluster_rank();
  if (threadIdx.x == 0) told = uint32_t(rank == 0);
  if (threadIdx.x == 0 && rank == 0) sum = 0;
  gpu::cluster_sync();
  if (threadIdx.x == 0) {
    while (gpu::load_acquire(&told) == 0) {
    }
    const float s = sum + float(blockIdx.x);
    if (rank + 1 < cluster) {
      *gpu::cluster_map(&sum, rank + 1) = s;
      gpu::store_release(gpu::cluster_map(&told, rank + 1), 1u);
    }
    y[blockIdx.x] = s;
  }
  gpu::cluster_sync();
}

// What the blocks of a cluster wrote to device memory, told to other clusters by one of them.
GPU_KERNEL void cluster_relay_kernel(float* x, uint32_t* told, float* y, int cluster) {
  if (threadIdx.x == 1) x[blockIdx.x] = float(blockIdx.x + 1);
  gpu::cluster_sync();
  if (threadIdx.x == 0) {
    if (gpu::cluster_rank() == cluster - 1) gpu::red_release_add(told, 1u);
    while (gpu::load_acquire(told) < gridDim.x / unsigned(cluster)) {
    }
  }
  gpu::cluster_sync();
  float sum = 0;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += x[b];
  y[blockIdx.x * blockDim.x + threadIdx.x] = sum;
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
void launch_grid_barriers(uint32_t* counts, uint32_t* arrived, uint32_t* y, int blocks, int steps) {
  gpu::launch(grid_barriers_kernel,
              gpu::Launch{.grid = unsigned(blocks), .block = 40, .cooperative = true}, nullptr,
              counts, arrived, y, steps);
}
void launch_cluster_sums(const float* x, float* y, int n, int cluster, int rounds,
                         bool cooperative) {
  gpu::Launch shape{.grid = dim3(8, 2), .block = 40, .cooperative = cooperative};
  shape.shared_bytes = 2 * gpu::carve_bytes<float>(size_t(n));
  shape.cluster = unsigned(cluster);
  gpu::launch(cluster_sums_kernel, shape, nullptr, x, y, n, cluster, rounds);
}
void launch_cluster_ring(float* y, int blocks, int cluster) {
  gpu::launch(cluster_ring_kernel,
              gpu::Launch{.grid = unsigned(blocks), .block = 32, .cluster = unsigned(cluster)},
              nullptr, y, cluster);
}
void launch_cluster_relay(float* x, uint32_t* told, float* y, int blocks, int cluster) {
  gpu::launch(
      cluster_relay_kernel,
      gpu::Launch{
          .grid = unsigned(blocks), .block = 40, .cooperative = true, .cluster = unsigned(cluster)},
      nullptr, x, told, y, cluster);
}
int resident_clusters_of(int threads, uint64_t shared_bytes, int cluster) {
  return gpu::resident_clusters(cluster_sums_kernel, gpu::Launch{.block = unsigned(threads),
                                                                 .shared_bytes = shared_bytes,
                                                                 .cluster = unsigned(cluster)});
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
void launch_empty(unsigned blocks, unsigned threads, uint64_t shared_bytes, bool cooperative,
                  unsigned cluster) {
  gpu::launch(empty_kernel,
              gpu::Launch{.grid = blocks,
                          .block = threads,
                          .shared_bytes = shared_bytes,
                          .cooperative = cooperative,
                          .cluster = cluster},
              nullptr);
}

}  // namespace unroll::gpu_on_cpu
