// Host part of gpu.h for nvcc: launches, and how much of one the device holds at once. Included by
// gpu_nvcc.h only.
#pragma once

#include <cstdlib>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

#include "kernels/base/cuda_check.h"

namespace unroll::gpu {

inline int current_device() {
  int device = 0;
  CUDA_CHECK(cudaGetDevice(&device));
  return device;
}

// Largest dynamic shared memory of one block of the current device.
inline size_t shared_bytes_per_block() {
  int bytes = 0;
  CUDA_CHECK(
      cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, current_device()));
  return size_t(bytes);
}

// Dynamic shared memory that any kernel here may have: 48 KiB less its static part.
inline constexpr size_t kUnaskedBytes = 32 * 1024;

// What the runtime says of a kernel on a device, and what it has been told of it.
struct KernelRecord {
  bool for_9;                            // see is_compiled_for_9
  size_t allowed_bytes = kUnaskedBytes;  // of dynamic shared memory, that a block may have now
  bool prefers_shared = false;
};
struct KernelRecords {
  std::mutex mutex;
  std::map<std::pair<int, const void*>, KernelRecord> of;  // device and kernel
};
inline KernelRecords& kernel_records() {
  static KernelRecords records;
  return records;
}
// f(record) of the kernel on the current device; the runtime is asked once.
template <class F>
bool with_record(const void* kernel, const F& f) {
  KernelRecords& records = kernel_records();
  const std::lock_guard lock(records.mutex);
  const std::pair key{current_device(), kernel};
  auto at = records.of.find(key);
  if (at == records.of.end()) {
    cudaFuncAttributes a{};
    CUDA_CHECK(cudaFuncGetAttributes(&a, kernel));
    at = records.of.emplace(key, KernelRecord{a.ptxVersion >= 90 && a.binaryVersion >= 90}).first;
  }
  return f(at->second);
}

// Whether this kernel was compiled for compute capability 9.0 and runs on such a device: code for
// older ones has no wait_for_previous(), and takes a cluster for one block.
inline bool is_compiled_for_9(const void* kernel) {
  return with_record(kernel, [](const KernelRecord& record) { return record.for_9; });
}

// Lets blocks of this kernel have so much dynamic shared memory; false if beside its static shared
// memory the device has no room for it. The limit belongs to the kernel and only rises: captured
// launches with more may wait to be instantiated.
inline bool allow_shared_bytes(const void* kernel, size_t bytes) {
  if (bytes <= kUnaskedBytes) return true;
  return with_record(kernel, [&](KernelRecord& record) {
    if (bytes <= record.allowed_bytes) return true;
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(bytes));
    if (status == cudaErrorInvalidValue) {
      (void)cudaGetLastError();  // or the next library that asks would report it
      return false;
    }
    CUDA_CHECK(status);
    record.allowed_bytes = bytes;
    return true;
  });
}

// Whether this kernel can start early. Kernels of a chain that do share a multiprocessor only if
// they split its memory between L1 and shared memory alike.
inline bool can_start_early(const void* kernel) {
  return with_record(kernel, [&](KernelRecord& record) {
    if (!record.for_9 || record.prefers_shared) return record.for_9;
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared));
    return record.prefers_shared = true;
  });
}

// A launch as the runtime wants it.
struct LaunchConfig {
  cudaLaunchConfig_t config{};
  cudaLaunchAttribute attributes[3]{};

  LaunchConfig(const void* kernel, const Launch& shape, CUstream_st* stream) {
    allow_shared_bytes(kernel, shape.shared_bytes);  // if not, the launch says so
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = attributes;
    if (shape.cooperative) add(cudaLaunchAttributeCooperative).cooperative = 1;
    if (shape.early_start && can_start_early(kernel))
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
// UNROLL_SYNC_CHECK=1 in the environment it waits for the kernel, unless it is being captured, so
// that a fault is reported by the launch that caused it.
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
  if (!sync_check) return;
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  CUDA_CHECK(cudaStreamIsCapturing(stream, &capture));
  if (capture == cudaStreamCaptureStatusNone) CUDA_CHECK(cudaStreamSynchronize(stream));
}

// How many blocks of this kernel one multiprocessor holds at once; a cooperative grid has at most
// this times the multiprocessors of the device.
template <class... P>
int blocks_per_sm(void (*kernel)(P...), int threads, size_t shared_bytes) {
  if (!allow_shared_bytes(reinterpret_cast<const void*>(kernel), shared_bytes)) return 0;
  int blocks = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, threads, shared_bytes));
  return blocks;
}

template <class K>
int count_resident_clusters(K kernel, const Launch& shape) {
  const void* entry = reinterpret_cast<const void*>(kernel);
  if (!allow_shared_bytes(entry, shape.shared_bytes)) return 0;
  if (shape.cluster <= 1) {
    int multiprocessors = 0;
    CUDA_CHECK(
        cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, current_device()));
    const unsigned threads = shape.block.x * shape.block.y * shape.block.z;
    return multiprocessors * blocks_per_sm(kernel, int(threads), shape.shared_bytes);
  }
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

// How many clusters of this launch the device holds at once, and with cluster == 1 how many blocks;
// 0 where it has none of that size. A cooperative grid has at most as many. Plans ask at every op
// of an eager step, so each answer is kept.
template <class K>
int resident_clusters(K kernel, const Launch& shape) {
  thread_local std::map<std::tuple<int, const void*, unsigned, size_t, unsigned>, int> known;
  const std::tuple key{current_device(), reinterpret_cast<const void*>(kernel),
                       shape.block.x * shape.block.y * shape.block.z, shape.shared_bytes,
                       unsigned(shape.cluster)};
  const auto at = known.find(key);
  return at != known.end()
             ? at->second
             : known.emplace(key, count_resident_clusters(kernel, shape)).first->second;
}

}  // namespace unroll::gpu
