// A device to compute on: the CPU, one CUDA GPU, or `none` (a measuring run).
#pragma once

#include <cstddef>
#include <string>

#include "kernels/base/exec.h"

namespace unroll {

// Supported: compute capability 8.0 and up.
constexpr int kMinComputeMajor = 8;

class Device {
 public:
  // "auto": the first usable GPU, else the CPU; "cpu"; "cuda" or "cuda:N". `threads` is for the
  // CPU, 0 for all cores. Throws a resource Error that names what was found: no GPU, a GPU older
  // than compute capability 8.0, a driver too old for this build. `auto` never throws; why_cpu()
  // says why.
  static Device parse(const std::string& text, int threads = 0);
  static Device cpu(int threads = 0);
  static Device cuda(int ordinal = 0);

  // Whether this build has CUDA and a supported GPU answers; `why_not` says what is missing.
  static bool cuda_available(std::string* why_not = nullptr);

  static bool built_with_cuda();

  DeviceKind kind() const { return kind_; }
  int threads() const { return threads_; }
  int sm_count() const { return sm_count_; }
  const std::string& name() const { return name_; }  // "NVIDIA H200", "CPU, 2 threads"
  const std::string& why_cpu() const {
    return why_cpu_;
  }  // after "auto": why there is no GPU, or ""
  // Whether products of bf16 are faster here than those of f32.
  bool multiplies_bf16() const;
  size_t memory_bytes() const { return memory_bytes_; }
  size_t free_memory_bytes() const;

  // Makes this device current on the calling thread; nothing on the CPU.
  void make_current() const;
  void synchronize() const;

 private:
  DeviceKind kind_ = DeviceKind::cpu;
  int ordinal_ = 0, threads_ = 1, sm_count_ = 1;
  size_t memory_bytes_ = 0;
  std::string name_, why_cpu_;
};

}  // namespace unroll
