#include "host/device/backend.h"

namespace unroll {
namespace {

// Of a CPU thread: the larger the fewer halves of large products, and only what is used is touched.
constexpr size_t kWorkspace = size_t(16) << 20;

}  // namespace

Backend::Backend(const Device& device, MatmulMode matmul)
    : device_(device), matmul_(matmul), stream_(device) {
  device_.make_current();
  if (device.kind() != DeviceKind::cuda) {
    if (matmul == MatmulMode::bf16)
      workspace_ = Buffer(device_, MemoryKind::host, size_t(device_.threads()) * kWorkspace);
    return;
  }
  blas_.emplace(device_, stream_);
  side_ = std::make_unique<SideBranch>(device_, stream_);
}

Exec Backend::exec() const {
  Exec exec;
  exec.kind = device_.kind();
  exec.stream = stream_.handle();
  exec.blas = blas_ ? blas_->handle() : nullptr;
  exec.matmul = matmul_;
  exec.sm_count = device_.sm_count();
  exec.threads = device_.threads();
  exec.workspace = workspace_.as<char>();
  exec.workspace_bytes = workspace_ ? kWorkspace : 0;
  return exec;
}

Exec Backend::measuring() const {
  Exec exec = this->exec();
  exec.kind = DeviceKind::none;
  return exec;
}

}  // namespace unroll
