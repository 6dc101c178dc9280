#include "host/device/blas_handle.h"

#include <cublas_v2.h>

#include "kernels/base/error.h"

namespace unroll {
namespace {

// What cuBLAS documents as its own choice on Hopper.
constexpr size_t kWorkspaceBytes = size_t(32) << 20;

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(std::string("cuBLAS: ") + call + ": " + cublasGetStatusString(status));
}

}  // namespace

BlasHandle::BlasHandle(const Device& device, const Stream& stream)
    : workspace_(device, MemoryKind::device, kWorkspaceBytes) {
  check(cublasCreate(&handle_), "cublasCreate");
  check(cublasSetStream(handle_, stream.handle()), "cublasSetStream");
  // Set after the stream: cublasSetStream falls back to the handle's default workspace.
  check(cublasSetWorkspace(handle_, workspace_.data(), workspace_.bytes()), "cublasSetWorkspace");
}

BlasHandle::~BlasHandle() {
  if (handle_) cublasDestroy(handle_);
}

}  // namespace unroll
