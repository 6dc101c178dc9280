// The one table of tolerances, and comparisons in which a NaN is always a failure.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "tests/harness/devices.h"

namespace unroll::test {

// Relative to the largest magnitude of the reference. bf16: 8 significant bits, and sums over
// inputs that were rounded to it. TF32: 11 significant bits.
inline double tolerance(const Target& t) {
  if (t.matmul == MatmulMode::tf32) return 2e-3;
  if (t.matmul == MatmulMode::bf16) return 8e-3;
  switch (t.act) {
    case DType::f64:
      return 1e-12;
    case DType::bf16:
      return 8e-3;
    default:
      return 5e-6;
  }
}

// What norm_error may be, and what one rounding of an operand makes of it.
struct NormLimits {
  double norm, rounding;
};
inline NormLimits norm_limits(const Target& t) {
  if (t.act == DType::f64) return {1e-12, std::ldexp(1.0, -49)};
  if (t.act == DType::bf16 || t.matmul == MatmulMode::bf16) return {1e-2, std::ldexp(1.0, -9)};
  if (t.matmul == MatmulMode::tf32) return {1e-3, std::ldexp(1.0, -11)};
  return {1e-5, std::ldexp(1.0, -20)};
}

inline double norm_of(const std::vector<double>& a) {
  return std::sqrt(std::inner_product(a.begin(), a.end(), a.begin(), 0.0));
}
// The norm of a - b over the norm of b, infinite where that is not a number. Where b are sums whose
// terms may cancel, `terms` is the norm of those: rounding is relative to that, not to what is left.
inline double norm_error(const std::vector<double>& a, const std::vector<double>& b,
                         double terms = 0) {
  if (a.size() != b.size()) return INFINITY;
  std::vector<double> error(a.size());
  std::transform(a.begin(), a.end(), b.begin(), error.begin(), std::minus<>());
  const double e = norm_of(error);
  return std::isfinite(e) ? e / std::max({norm_of(b), terms, 1e-30}) : INFINITY;
}

// The largest |a - b| over the largest |b|, infinite where either is NaN. Where b are sums whose
// terms may cancel, `magnitude` is the largest sum of the terms' absolute values: rounding is
// relative to that, not to what is left.
inline double relative_error(const std::vector<double>& a, const std::vector<double>& b,
                             double magnitude = 0) {
  if (a.size() != b.size()) return INFINITY;
  double worst = 0, scale = std::max(magnitude, 1e-30);
  for (size_t i = 0; i < a.size(); ++i) {
    const double e = std::abs(a[i] - b[i]);
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
    scale = std::max(scale, std::abs(b[i]));
  }
  return worst == 0 ? 0 : worst / scale;
}

inline void expect_close(const std::vector<double>& got, const std::vector<double>& expected,
                         double tolerance, const std::string& what, double magnitude = 0) {
  const double e = relative_error(got, expected, magnitude);
  EXPECT_LE(e, tolerance) << what << " differs from the reference";
}

}  // namespace unroll::test
