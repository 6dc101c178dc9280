// Central differences: what a gradient is compared with where the complex step cannot go.
#pragma once

#include <vector>

namespace unroll::test {

// The derivative of objective() by each of `at`, to about h^4: four points each, so that h can be so
// wide that rounding does not show. `at` is as before afterwards.
template <class Objective>
std::vector<double> central_differences(std::vector<double>& at, const Objective& objective,
                                        double h = 1e-4) {
  std::vector<double> d;
  for (double& v : at) {
    const double kept = v;
    const auto slope = [&](double step) {
      v = kept + step;
      const double above = objective();
      v = kept - step;
      return (above - objective()) / (2 * step);
    };
    d.push_back((4 * slope(h) - slope(2 * h)) / 3);
    v = kept;
  }
  return d;
}

}  // namespace unroll::test
