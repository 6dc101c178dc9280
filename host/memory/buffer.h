// A block of memory with one owner: on the device, pinned on the host (for asynchronous copies), or
// plain on the host.
#pragma once

#include <cstddef>

#include "host/device/device.h"

namespace unroll {

enum class MemoryKind { device, pinned, host };

class Buffer {
 public:
  Buffer() = default;
  // On the CPU all three kinds are plain host memory, 64-byte aligned. The content is undefined;
  // device memory is zeroed only on request. Throws a resource Error that says how much was asked
  // for and free.
  Buffer(const Device& device, MemoryKind kind, size_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  explicit operator bool() const { return data_ != nullptr; }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void release() noexcept;
  void* data_ = nullptr;
  size_t bytes_ = 0;
  bool cuda_ = false;
  MemoryKind kind_ = MemoryKind::host;
};

}  // namespace unroll
