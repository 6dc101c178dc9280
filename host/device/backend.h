// Everything an op needs to run, owned in one place: device, streams and BLAS handles.
#pragma once

#include <memory>
#include <optional>

#include "host/device/blas_handle.h"
#include "host/device/device.h"
#include "host/device/side_branch.h"
#include "host/device/stream.h"
#include "host/memory/buffer.h"

namespace unroll {

class Backend {
 public:
  explicit Backend(const Device& device, MatmulMode matmul = MatmulMode::f32);

  const Device& device() const { return device_; }
  const Stream& stream() const { return stream_; }
  // Null where work is done when it is issued.
  SideBranch* side() const { return side_.get(); }
  // The bundle that ops borrow.
  Exec exec() const;
  // The same with kind `none`: every op returns at once.
  Exec measuring() const;

 private:
  Device device_;
  MatmulMode matmul_;
  Stream stream_;
  std::optional<BlasHandle> blas_;
  std::unique_ptr<SideBranch> side_;
  Buffer workspace_;
};

}  // namespace unroll
