// Derivatives of a whole layer, through time, by complex step.
#pragma once

#include <complex>
#include <vector>

#include "tests/oracle/normed_recurrent.h"

namespace unroll::test {

using Complex = std::complex<double>;

inline std::vector<Complex> widened(const std::vector<double>& v) { return {v.begin(), v.end()}; }
inline oracle::Layer<Complex> widened(const oracle::Layer<double>& a) {
  return {.cell = a.cell,
          .T_ = a.T_,
          .B = a.B,
          .H = a.H,
          .reverse = a.reverse,
          .lengths = a.lengths,
          .Wx = widened(a.Wx),
          .R = widened(a.R),
          .b_W = widened(a.b_W),
          .b_R = widened(a.b_R),
          .h = widened(a.h),
          .c = widened(a.c),
          .kept_h = a.kept_h,
          .kept_c = a.kept_c,
          .passed = a.passed,
          .resets = a.resets};
}
inline oracle::NormedLayer<Complex> widened(const oracle::NormedLayer<double>& a) {
  const oracle::Layer<double>& plain = a;
  return {widened(plain), widened(a.g_R), widened(a.g_c), widened(a.b_c), a.eps};
}

// Of the sum over dh . outputs by one input, through time; and of dc . c after the last step, where
// dc is given. `z` is a widened layer.
template <class Layer, class Base>
double layer_derivative(Layer z, const std::vector<double>& dh, std::vector<Complex> Base::*input,
                        size_t at, const std::vector<double>& dc = {}) {
  constexpr double kStep = 1e-100;
  (z.*input)[at] += Complex(0, kStep);
  z.forward();
  double sum = 0;
  const size_t first = z.reverse ? 0 : size_t(z.B * z.H);
  for (size_t i = 0; i < dh.size(); ++i) sum += dh[i] * z.h[first + i].imag();
  const size_t last = z.reverse ? 0 : size_t(z.T_ * z.B * z.H);
  for (size_t i = 0; i < dc.size(); ++i) sum += dc[i] * z.c[last + i].imag();
  return sum / kStep;
}

}  // namespace unroll::test
