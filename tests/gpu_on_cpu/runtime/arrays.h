// Programs on a few arrays and two streams of the stand-in runtime, for its tests.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>

#include "host/device/backend.h"
#include "kernels/base/error.h"
#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll::test {

inline constexpr int kSeeds = 60;
inline constexpr size_t kCount = 8;
inline constexpr size_t kBytes = kCount * sizeof(float);

// A program that says whether its numbers were right; the number of seeds for which they were not.
inline int wrong_seeds(const std::function<bool()>& program) {
  int wrong = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    gpu_on_cpu::set_queue_seed(uint64_t(seed));
    wrong += !program();
    Device::cuda().synchronize();
  }
  return wrong;
}

inline bool all_are(const float* p, float value) {
  return std::all_of(p, p + kCount, [&](float x) { return x == value; });
}

// y = x + value, as a kernel: its arguments are copied when it is issued.
inline void add_kernel(const Stream& stream, float* y, const float* x, float value) {
  gpu_on_cpu::enqueue(stream.handle(), [=] {
    for (size_t i = 0; i < kCount; ++i) y[i] = x[i] + value;
  });
}

struct Arrays {
  Device device = Device::cuda();
  Stream stream{device}, other{device};
  Buffer x{device, MemoryKind::device, kBytes}, y{device, MemoryKind::device, kBytes};
  Buffer pinned{device, MemoryKind::pinned, kBytes}, result{device, MemoryKind::pinned, kBytes};
  Arrays() {
    fill(1);
    stream.copy(x.data(), pinned.data(), kBytes);
    stream.fill_zero(y.data(), kBytes);
    stream.synchronize();
    std::fill_n(result.as<float>(), kCount, -5.0f);
  }
  void fill(float v) { std::fill_n(pinned.as<float>(), kCount, v); }
  // Waits for both streams and reads y.
  bool y_is(float value) {
    stream.synchronize();
    other.synchronize();
    stream.copy(result.data(), y.data(), kBytes);
    stream.synchronize();
    return all_are(result.as<float>(), value);
  }
};

inline std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
inline testing::AssertionResult says(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "\"" << text << "\" does not say \"" << part << "\"";
}

}  // namespace unroll::test
