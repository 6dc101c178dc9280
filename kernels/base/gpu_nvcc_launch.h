// Host part of gpu.h for nvcc: launches, and how much of one the device holds at once. Included by
// gpu_nvcc.h only.
#pragma once

#include <cstdlib>

#include "kernels/base/cuda_check.h"

namespace unroll::gpu {

// Whether this kernel was compiled for compute capability 9.0 and runs on such a device: code for
// older ones has no wait_for_previous(), and takes a cluster for one block.
inline bool is_compiled_for_9(const void* kernel) {
  thread_local const void* asked = nullptr;
  thread_local bool answer = false;
  if (asked != kernel) {
    cudaFuncAttributes attributes{};
    CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
    answer = attributes.ptxVersion >= 90 && attributes.binaryVersion >= 90;
    asked = kernel;
  }
  return answer;
}

// A launch as the runtime wants it.
struct LaunchConfig {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attributes[3]{};

  LaunchConfig(const void* kernel, const Launch& shape, CUstream_st* stream) {
    if (shape.shared_bytes > 48 * 1024)
      CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      int(shape.shared_bytes)));
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    if (shape.cooperative) add(cudaLaunchAttributeCooperative).cooperative = 1;
    if (shape.early_start && is_compiled_for_9(kernel))
      add(cudaLaunchAttributeProgrammaticStreamSerialization)
          .programmaticStreamSerializationAllowed = 1;
    if (shape.cluster > 1) {
      auto& dim = add(cudaLaunchAttributeClusterDimension).clusterDim;
      dim.x = shape.cluster;
      dim.y = dim.z = 1;
    }
  }
  LaunchConfig(const LaunchConfig&) = delete;

 private:
  cudaLaunchAttributeValue& add(cudaLaunchAttributeID id) {
    attributes[config.numAttrs].id = id;
    return attributes[config.numAttrs++].val;
  }
};

// Runs kernel(args...) on `stream`. Throws unroll::Error if the launch is refused; with
// UNROLL_SYNC_CHECK=1 in the environment it waits for the kernel, so that a fault is reported by
// the launch that caused it.
template <class... P, class... A>
void launch(void (*kernel)(P...), const Launch& shape, CUstream_st* stream, A&&... args) {
  static const bool sync_check = [] {
    const char* value = std::getenv("UNROLL_SYNC_CHECK");
    return value && *value && *value != '0';
  }();
  const void* entry = reinterpret_cast<const void*>(kernel);
  if (shape.cluster > 1)
    UNROLL_CHECK(
        shape.cluster <= kMaxCluster && shape.grid.x % shape.cluster == 0 &&
            is_compiled_for_9(entry),
        "a cluster divides the blocks along x, has at most 8 and needs a device and code of "
        "compute capability 9.0; ask gpu::resident_clusters first");
  const LaunchConfig made(entry, shape, stream);
  CUDA_CHECK(cudaLaunchKernelEx(&made.config, kernel, P(std::forward<A>(args))...));
  launches.fetch_add(1, std::memory_order_relaxed);
  if (sync_check) CUDA_CHECK(cudaStreamSynchronize(stream));
}

// How many blocks of this kernel one multiprocessor holds at once; a cooperative grid has at most
// this times the multiprocessors of the device.
template <class... P>
int blocks_per_sm(void (*kernel)(P...), int threads, size_t shared_bytes) {
  if (shared_bytes > 48 * 1024)
    CUDA_CHECK(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    int(shared_bytes)));
  int blocks = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes));
  return blocks;
}

// Largest dynamic shared memory of one block of the current device.
inline size_t shared_bytes_per_block() {
  int device = 0, bytes = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return size_t(bytes);
}

// How many clusters of this launch the device holds at once, and with cluster == 1 how many blocks;
// 0 where it has none of that size. A cooperative grid has at most as many.
template <class K>
int resident_clusters(K kernel, const Launch& shape) {
  if (shape.shared_bytes > shared_bytes_per_block()) return 0;
  if (shape.cluster <= 1) {
    int device = 0, multiprocessors = 0;
    CUDA_CHECK(cudaGetDevice(&device));
    CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device));
    const unsigned threads = shape.block.x * shape.block.y * shape.block.z;
    return multiprocessors * blocks_per_sm(kernel, int(threads), shape.shared_bytes);
  }
  const void* entry = reinterpret_cast<const void*>(kernel);
  if (shape.cluster > kMaxCluster || !is_compiled_for_9(entry)) return 0;
  // What else a launch asks for, and how many clusters it has, does not matter.
  Launch one = shape;
  one.grid = dim3(shape.cluster);
  one.cooperative = one.early_start = false;
  const LaunchConfig made(entry, one, nullptr);
  int clusters = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveClusters(&clusters, kernel, &made.config));
  return clusters;
}

}  // namespace unroll::gpu
