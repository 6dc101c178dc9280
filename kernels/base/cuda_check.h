// Checks of CUDA and cuBLAS calls. Included where kernels and memory of a GPU are.
#pragma once

#include <cuda_runtime.h>

#include <cstdio>
#include <string>

#include "kernels/base/error.h"

namespace unroll {

// The runtime's own record of the error is cleared: who catches the exception and goes on should
// not have it reported by the next library that asks for it.
[[noreturn]] inline void fail_cuda(cudaError_t status, const char* call, const char* file,
                                   int line) {
  (void)cudaGetLastError();
  const ErrorKind kind = status == cudaErrorMemoryAllocation || status == cudaErrorNoDevice ||
                                 status == cudaErrorInsufficientDriver
                             ? ErrorKind::resource
                             : ErrorKind::internal;
  throw Error(kind, std::string("CUDA: ") + cudaGetErrorString(status) + " (" + call + ", " + file +
                        ":" + std::to_string(line) + ")");
}

}  // namespace unroll

#define CUDA_CHECK(call)                                                                 \
  do {                                                                                   \
    const cudaError_t status_ = (call);                                                  \
    if (status_ != cudaSuccess) ::unroll::fail_cuda(status_, #call, __FILE__, __LINE__); \
  } while (false)

// For destructors: says what failed and goes on.
#define CUDA_CHECK_NOTHROW(call)                                                           \
  do {                                                                                     \
    const cudaError_t status_ = (call);                                                    \
    if (status_ != cudaSuccess && status_ != cudaErrorCudartUnloading)                     \
      std::fprintf(stderr, "unroll: CUDA: %s (%s)\n", cudaGetErrorString(status_), #call); \
  } while (false)
