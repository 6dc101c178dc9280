// Small kernels with one mistake each, chosen by a template argument, and their correct twins:
// across the blocks of a cluster.
#include "tests/gpu_on_cpu/planted_bugs.cuh"

namespace unroll::gpu_on_cpu {
namespace {

constexpr int kCluster = 4, kClusterBlocks = 3 * kCluster, kClusterThreads = 64;

// What thread t of block b hands around.
GPU_HD float number_of(int b, int t) { return float(b * 100 + t % 29); }
GPU_DEVICE float my_number() { return number_of(int(blockIdx.x), int(threadIdx.x)); }
GPU_DEVICE float& place_of(float* y) { return y[blockIdx.x * kClusterThreads + threadIdx.x]; }
GPU_DEVICE int next_rank() { return (gpu::cluster_rank() + 1) % kCluster; }
int next_block(int b) { return b / kCluster * kCluster + (b + 1) % kCluster; }
int last_block(int b) { return b / kCluster * kCluster + (b + kCluster - 1) % kCluster; }

// Whether kernel(y) leaves in block b the numbers of block from(b).
bool run_clusters(void (*kernel)(float*), int (*from)(int)) {
  DeviceArray<float> y(kClusterBlocks * kClusterThreads);
  gpu::launch(kernel,
              gpu::Launch{.grid = kClusterBlocks, .block = kClusterThreads, .cluster = kCluster},
              nullptr, y.data());
  return all_near(y, [&](size_t i) {
    return number_of(from(int(i) / kClusterThreads), int(i) % kClusterThreads);
  });
}

enum class PushBug { none, no_start, no_barrier };
// Each block writes into the next one's memory.
template <PushBug Bug>
GPU_KERNEL void push_kernel(float* y) {
  GPU_SHARED(inbox, float[kClusterThreads]);
  if constexpr (Bug != PushBug::no_start) gpu::cluster_sync();
  gpu::cluster_map(inbox, next_rank())[threadIdx.x] = my_number();  // planted:cluster_no_start
  if constexpr (Bug != PushBug::no_barrier) gpu::cluster_sync();
  place_of(y) = inbox[threadIdx.x];  // planted:cluster_no_barrier
  if constexpr (Bug == PushBug::no_barrier) gpu::cluster_sync();
}

enum class PullBug { none, no_last_barrier, high_rank, device_pointer, divergent, two_kinds, left };
// Each block reads the next one's memory.
template <PullBug Bug>
GPU_KERNEL void pull_kernel(float* y) {
  GPU_SHARED(tile, float[kClusterThreads]);
  tile[threadIdx.x] = my_number();
  if constexpr (Bug == PullBug::divergent) {
    if (threadIdx.x % 32 < 7)
      gpu::cluster_sync();  // planted:cluster_divergent
    else
      gpu::cluster_sync();  // planted:cluster_divergent
  } else if constexpr (Bug == PullBug::two_kinds) {
    if (threadIdx.x < 32)
      gpu::sync_threads();  // planted:cluster_two_kinds
    else
      gpu::cluster_sync();  // planted:cluster_two_kinds
  } else {
    if (Bug == PullBug::left && gpu::cluster_rank() == 1) return;
    gpu::cluster_sync();  // planted:cluster_left
  }
  const int rank = Bug == PullBug::high_rank ? gpu::cluster_rank() + 1 : next_rank();
  const float* from = Bug == PullBug::device_pointer ? y : tile;
  const float* there =
      gpu::cluster_map(from, rank);  // planted:cluster_wrong_rank planted:cluster_wrong_pointer
  place_of(y) = there[threadIdx.x];  // planted:cluster_exited
  if constexpr (Bug != PullBug::no_last_barrier) gpu::cluster_sync();
}

template <PushBug Bug>
bool run_push(bool planted) {
  return run_clusters(planted ? push_kernel<Bug> : push_kernel<PushBug::none>, last_block);
}
template <PullBug Bug>
bool run_pull(bool planted) {
  return run_clusters(planted ? pull_kernel<Bug> : pull_kernel<PullBug::none>, next_block);
}
}  // namespace

bool cluster_no_start(bool planted) { return run_push<PushBug::no_start>(planted); }
bool cluster_no_barrier(bool planted) { return run_push<PushBug::no_barrier>(planted); }
bool cluster_exited(bool planted) { return run_pull<PullBug::no_last_barrier>(planted); }
bool cluster_wrong_rank(bool planted) { return run_pull<PullBug::high_rank>(planted); }
bool cluster_wrong_pointer(bool planted) { return run_pull<PullBug::device_pointer>(planted); }
bool cluster_divergent(bool planted) { return run_pull<PullBug::divergent>(planted); }
bool cluster_two_kinds(bool planted) { return run_pull<PullBug::two_kinds>(planted); }
bool cluster_left(bool planted) { return run_pull<PullBug::left>(planted); }

namespace {

// Through device memory, from a block of another cluster.
template <bool Planted>
GPU_KERNEL void other_cluster_kernel(float* y) {
  float* last = y + gridDim.x * kClusterThreads;
  place_of(last) = my_number();
  if constexpr (Planted)
    gpu::cluster_sync();
  else
    gpu::grid_sync();
  const unsigned from = (blockIdx.x + kCluster) % gridDim.x;
  place_of(y) = last[from * kClusterThreads + threadIdx.x];  // planted:cluster_is_no_grid
}
}  // namespace

bool cluster_is_no_grid(bool planted) {
  constexpr int n = kClusterBlocks * kClusterThreads;
  DeviceArray<float> y(2 * n);
  PLANTABLE(other_cluster_kernel,
            gpu::Launch{.grid = kClusterBlocks,
                        .block = kClusterThreads,
                        .cooperative = true,
                        .cluster = kCluster},
            nullptr, y.data());
  return all_near(y, [](size_t i) {
    const int b = int(i) % n / kClusterThreads;
    return number_of(i < n ? (b + kCluster) % kClusterBlocks : b, int(i) % kClusterThreads);
  });
}

}  // namespace unroll::gpu_on_cpu
