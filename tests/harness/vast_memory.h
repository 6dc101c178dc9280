// Device memory of which a test touches little: on the CPU the rest is address space and no memory.
#pragma once

#include <sys/mman.h>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "kernels/base/error.h"

namespace unroll::test {

class VastMemory {
 public:
  VastMemory(const Backend& backend, size_t bytes) : bytes_(bytes) {
    if (backend.device().kind() == DeviceKind::cuda) {
      on_gpu_ = Buffer(backend.device(), MemoryKind::device, bytes);
      data_ = on_gpu_.data();
      return;
    }
    data_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data_ == MAP_FAILED) throw Error("no address space for the test");
  }
  ~VastMemory() {
    if (!on_gpu_) munmap(data_, bytes_);
  }
  VastMemory(const VastMemory&) = delete;
  VastMemory& operator=(const VastMemory&) = delete;

  void* data() const { return data_; }

 private:
  size_t bytes_;
  Buffer on_gpu_;
  void* data_ = nullptr;
};

}  // namespace unroll::test
