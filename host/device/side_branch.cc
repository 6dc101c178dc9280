#include "host/device/side_branch.h"

namespace unroll {

SideBranch::SideBranch(const Device& device, const Stream& main)
    : main_(main), stream_(device, Priority::low), forked_(device), joined_(device) {
  if (device.kind() == DeviceKind::cuda) blas_.emplace(device, stream_);
}

// A wait is for the last record before it, so one event serves every fork.
void SideBranch::fork() {
  forked_.record(main_);
  stream_.wait(forked_);
}
void SideBranch::join() {
  joined_.record(stream_);
  main_.wait(joined_);
}

Exec SideBranch::beside(Exec exec) const {
  exec.stream = stream_.handle();
  exec.blas = blas_ ? blas_->handle() : nullptr;
  return exec;
}

}  // namespace unroll
