// Sums of probabilities kept as logarithms.
#pragma once

#include <algorithm>
#include <cmath>

namespace unroll {

// log(e^a + e^b); either may be -infinity.
inline double log_add(double a, double b) {
  const double high = std::max(a, b);
  return high == -INFINITY ? high : high + std::log1p(std::exp(std::min(a, b) - high));
}

}  // namespace unroll
