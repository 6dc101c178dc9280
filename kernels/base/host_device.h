// GPU_HD marks a function that runs on the host and on the device: cells, views, Philox.
#pragma once

#if defined(__CUDACC__)
#define GPU_HD __host__ __device__ __forceinline__
#elif defined(UNROLL_GPU_ON_CPU)
// Inlined always, so that the instrumented kernels never call a copy from a file without the
// checks.
#define GPU_HD inline __attribute__((always_inline))
#else
#define GPU_HD inline
#endif
