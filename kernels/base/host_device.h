// GPU_HD marks a function that runs on the host and on the device: cells, views, Philox.
#pragma once

#if defined(__CUDACC__)
#define GPU_HD __host__ __device__ __forceinline__
#else
#define GPU_HD inline
#endif
