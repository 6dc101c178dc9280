// What the planted bugs share.
#pragma once

#include <cmath>

#include "kernels/base/gpu.h"
#include "tests/gpu_on_cpu/device_array.h"
#include "tests/gpu_on_cpu/planted_bugs.h"

// Launches the kernel with its mistake, or its twin.
#define PLANTABLE(kernel, ...) \
  planted ? gpu::launch(kernel<true>, __VA_ARGS__) : gpu::launch(kernel<false>, __VA_ARGS__)

namespace unroll::gpu_on_cpu {

inline constexpr int kThreads = 128, kWarps = kThreads / 32, kBlocks = 5;

// NaN is not near anything.
inline bool near(float a, double b) { return std::fabs(a - b) <= 1e-4 * (1 + std::fabs(b)); }
inline std::vector<float> ramp(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = float(i % 17) - 5.5f + float(i % 5) * 0.25f;
  return x;
}
inline double sum_of(const std::vector<float>& x, size_t first, size_t n) {
  double s = 0;
  for (size_t i = 0; i < n; ++i) s += x[first + i];
  return s;
}
template <class F>
bool all_near(const DeviceArray<float>& y, F expected) {
  const std::vector<float> values = y.values();
  for (size_t i = 0; i < values.size(); ++i)
    if (!near(values[i], expected(i))) return false;
  return true;
}
GPU_DEVICE float sum_in_warp(float v) {
  for (int d = 16; d > 0; d /= 2) v += gpu::shfl_xor(gpu::kFullMask, v, d);
  return v;
}

}  // namespace unroll::gpu_on_cpu
