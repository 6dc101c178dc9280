// The only door to the GPU for kernel code. The same kernel text is compiled twice:
//
//   by nvcc        every name below is the plain keyword or a forced-inline function over one PTX
//                  instruction (gpu_nvcc.h, gpu_nvcc_launch.h)
//   by g++, clang  -DUNROLL_GPU_ON_CPU: every CUDA thread is a fiber that runs under a strict
//                  scheduler with a race detector (tests/gpu_on_cpu/gpu_host.h)
//
//   GPU_KERNEL void k(...)                   a kernel; template parameters as usual
//   GPU_KERNEL_BOUNDS(256, 1) void k(...)    the same with launch bounds (threads, blocks per SM)
//   GPU_DEVICE float f(...)                  a device function, always inlined
//   GPU_SHARED(tmp, float[32]);              shared memory of the block, 16-byte aligned; without
//                                            initialiser; one object per function instance
//   GPU_DYN_SHARED(raw);                     unsigned char* raw: the dynamic shared memory
//   float* a = gpu::carve<float>(raw, n);    next piece of it; every piece starts on 16 bytes, so
//                                            the launch asks for the sum of gpu::carve_bytes<T>(n)
//   gpu::launch(k<float>, gpu::Launch{.grid = dim3(8), .block = dim3(256)}, stream, args...);
//   threadIdx blockIdx blockDim gridDim      as in CUDA; kernels never use these names otherwise
//   gpu::sync_threads sync_warp              barriers of the block and of a warp
//   gpu::grid_sync                           of a cooperative grid
//   gpu::cluster_sync cluster_rank           of blocks launched as one cluster (Launch::cluster);
//   float* b = gpu::cluster_map(a, rank);    where another of them has what `a` is here in shared
//                                            memory
//   gpu::resident_clusters(k, launch)        how many of its clusters the device holds at once
//
// What a kernel must not use: bare __shared__, asm, <<<>>>, __activemask, volatile, __constant__ or
// __device__ variables, objects with destructors, a return before a barrier of the block, barriers
// in branches on which the threads of a block disagree. `#if defined(__CUDA_ARCH__)` appears only
// in gpu_nvcc.h, dtype.h and math.h: the point is that both compilers see one text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/base/error.h"
#include "kernels/base/host_device.h"
#include "kernels/base/launch_count.h"

#if defined(UNROLL_GPU_ON_CPU)
#include "tests/gpu_on_cpu/engine.h"
#elif !defined(__CUDACC__)
#error "kernels/base/gpu.h is for kernel sources: compile them with nvcc or with UNROLL_GPU_ON_CPU"
#endif

struct CUstream_st;

namespace unroll::gpu {

inline constexpr int kWarp = 32;
inline constexpr uint32_t kFullMask = 0xffffffffu;
inline constexpr unsigned kMaxCluster = 8;  // that every device of compute capability 9.0 takes

// Shape of a launch. A cooperative grid may call grid_sync(); all its blocks must fit on the device
// at once.
//
// A kernel launched with early_start may begin before the kernel ahead of it in the stream has
// ended (programmatic dependent launch, compute capability 9.0; elsewhere it begins after it, as
// any other). Before wait_for_previous() its threads read nothing that such a kernel writes and
// write no device memory at all; every thread calls it. What an ordinary kernel ahead of the chain
// was given is safe to read at once, but for the one directly before the first early start.
//
// With cluster > 1, that many blocks, neighbours along x, run at the same time on neighbouring
// multiprocessors, meet in cluster_sync() and reach each other's shared memory through
// cluster_map(). Such memory is there from the first cluster_sync() until its block ends, so the
// last remote access lies before a cluster_sync() as well. Compute capability 9.0; elsewhere the
// launch is refused.
struct Launch {
  dim3 grid{1, 1, 1};
  dim3 block{1, 1, 1};
  size_t shared_bytes = 0;  // dynamic shared memory per block
  bool cooperative = false;
  bool early_start = false;
  unsigned cluster = 1;  // divides grid.x; at most 8
#if defined(UNROLL_GPU_ON_CPU)
  gpu_on_cpu::Site site = gpu_on_cpu::Site::here();  // of the launch, for reports
#endif
};

// N elements moved by one instruction: N * sizeof(T) is 2, 4, 8 or 16 bytes, aligned to its size.
template <class T, int N>
struct alignas(sizeof(T) * N) Vec {
  static_assert(sizeof(T) * N <= 16 && (N & (N - 1)) == 0);
  T v[N];
  GPU_HD T& operator[](int i) { return v[i]; }
  GPU_HD const T& operator[](int i) const { return v[i]; }
};

// Bytes that carve<T>(raw, n) takes from the dynamic shared memory.
template <class T>
constexpr size_t carve_bytes(size_t n) {
  return (n * sizeof(T) + 15) / 16 * 16;
}

template <class T>
struct Same {
  using type = T;
};

}  // namespace unroll::gpu

#if defined(UNROLL_GPU_ON_CPU)
#include "tests/gpu_on_cpu/gpu_host.h"
#else
#include "kernels/base/gpu_nvcc.h"
#endif

namespace unroll::gpu {

// A barrier of all blocks, made by hand from a counter in device memory that is 0 when the kernel
// starts. All threads of all blocks call sync() equally often; all blocks must be resident, so the
// launch is cooperative. Writes before it are seen by every thread after it.
struct GridBarrier {
  uint32_t* arrived;  // one counter for the whole grid
  uint32_t target = 0;

  GPU_DEVICE explicit GridBarrier(uint32_t* counter) : arrived(counter) {}
  GPU_DEVICE void sync() {
    target += gridDim.x * gridDim.y * gridDim.z;
    sync_threads();
    if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
      red_release_add(arrived, 1u);
      while (load_acquire(arrived) < target) {
      }
    }
    sync_threads();
  }
};

}  // namespace unroll::gpu
