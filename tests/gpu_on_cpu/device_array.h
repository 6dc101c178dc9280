// An array in the engine's device memory, for tests of kernels without the CUDA runtime.
#pragma once

#include <vector>

#include "tests/gpu_on_cpu/engine.h"

namespace unroll::gpu_on_cpu {

template <class T>
class DeviceArray {
 public:
  // n elements of poison.
  explicit DeviceArray(size_t n) : data_(static_cast<T*>(allocate_device(n * sizeof(T)))), n_(n) {}
  DeviceArray(size_t n, T value) : DeviceArray(std::vector<T>(n, value)) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    copy_to_device(data_, values.data(), n_ * sizeof(T));
  }
  ~DeviceArray() { free_device(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() { return data_; }
  size_t size() const { return n_; }
  std::vector<T> values() const {
    std::vector<T> all(n_);
    copy_from_device(all.data(), data_, n_ * sizeof(T));
    return all;
  }

 private:
  T* data_;
  size_t n_;
};

}  // namespace unroll::gpu_on_cpu
