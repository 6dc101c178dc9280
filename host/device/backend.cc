#include "host/device/backend.h"

namespace unroll {

Backend::Backend(const Device& device, MatmulMode matmul)
    : device_(device), matmul_(matmul), stream_(device) {
  device_.make_current();
  if (device.kind() != DeviceKind::cuda) return;
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
  return exec;
}

Exec Backend::measuring() const {
  Exec exec = this->exec();
  exec.kind = DeviceKind::none;
  return exec;
}

}  // namespace unroll
