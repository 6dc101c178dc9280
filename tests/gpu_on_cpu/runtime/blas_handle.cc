// Stand-in for cuBLAS handles.
#include <cublas_v2.h>

#include <algorithm>
#include <cstring>

#include "kernels/base/error.h"
#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/gpu_on_cpu/runtime/state.h"

struct cublasContext {
  cudaStream_t stream = nullptr;
  void* workspace = nullptr;
  size_t workspace_bytes = 0;
};

const char* cublasGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_SUCCESS ? "CUBLAS_STATUS_SUCCESS" : "CUBLAS_STATUS_INVALID_VALUE";
}
cublasStatus_t cublasCreate(cublasHandle_t* handle) {
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasDestroy(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetStream(cublasHandle_t handle, cudaStream_t stream) {
  *handle = {stream, nullptr, 0};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void* workspace, size_t bytes) {
  if (!workspace || reinterpret_cast<size_t>(workspace) % 256 != 0)
    return CUBLAS_STATUS_INVALID_VALUE;
  handle->workspace = workspace;
  handle->workspace_bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

namespace unroll::gpu_on_cpu {

CUstream_st* stream_of(cublasContext* handle) { return handle->stream; }

std::function<void()> scribble_workspace(cublasContext* handle) {
  if (!handle->workspace && handle->stream && handle->stream->capture)
    throw unroll::Error(
        "cuBLAS would allocate a workspace while its stream is captured; call "
        "cublasSetWorkspace after cublasSetStream");
  constexpr size_t kScribbled = 4096;
  return [data = handle->workspace, bytes = std::min(kScribbled, handle->workspace_bytes)] {
    if (!bytes) return;
    std::memset(data, 0xff, bytes);
    device_written(data, bytes);
  };
}

}  // namespace unroll::gpu_on_cpu
