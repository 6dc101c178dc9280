// Scalar functions of cells and losses, on the number type: float, double, or complex for
// complex-step checks of derivatives.
#pragma once

#include <cmath>
#include <complex>

#include "kernels/base/fast_math.h"
#include "kernels/base/host_device.h"

namespace unroll {

template <class T>
GPU_HD T sigmoid(T x) {
  using std::exp;
  return T(1) / (T(1) + exp(-x));
}

template <class T>
GPU_HD T tanh_of(T x) {
  using std::tanh;
  return tanh(x);
}

// In f32 on the CPU, forms that the compiler vectorises.
GPU_HD float sigmoid(float x) {
#if defined(__CUDA_ARCH__)
  return __fdividef(1.0f, 1.0f + expf(-x));
#else
  return 1.0f / (1.0f + fast_exp(-x));
#endif
}
GPU_HD float tanh_of(float x) {
#if defined(__CUDA_ARCH__)
  return tanhf(x);
#else
  return fast_tanh(x);
#endif
}

// max(x, 0); for a complex number the branch is chosen by the real part.
GPU_HD float relu(float x) { return x > 0 ? x : 0.0f; }
GPU_HD double relu(double x) { return x > 0 ? x : 0.0; }
inline std::complex<double> relu(std::complex<double> x) {
  return x.real() > 0 ? x : std::complex<double>(0);
}

// Whether relu passed its input through, read off its output.
GPU_HD bool is_positive(float y) { return y > 0; }
GPU_HD bool is_positive(double y) { return y > 0; }
inline bool is_positive(std::complex<double> y) { return y.real() > 0; }

// Derivatives from outputs: y = sigmoid(x), y = tanh(x).
template <class T>
GPU_HD T sigmoid_slope(T y) {
  return y * (T(1) - y);
}
template <class T>
GPU_HD T tanh_slope(T y) {
  return T(1) - y * y;
}

}  // namespace unroll
