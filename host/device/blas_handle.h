// A cuBLAS handle bound to one stream, with a workspace of its own that outlives every captured
// graph.
#pragma once

#include "host/device/stream.h"
#include "host/memory/buffer.h"

namespace unroll {

class BlasHandle {
 public:
  BlasHandle(const Device& device, const Stream& stream);
  ~BlasHandle();
  BlasHandle(const BlasHandle&) = delete;
  BlasHandle& operator=(const BlasHandle&) = delete;
  cublasContext* handle() const { return handle_; }

 private:
  Buffer workspace_;
  cublasContext* handle_ = nullptr;
};

}  // namespace unroll
