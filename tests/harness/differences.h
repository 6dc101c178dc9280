// Central differences: what a gradient is compared with where the complex step cannot go.
#pragma once

#include <vector>

namespace unroll::test {

// The derivative of objective() by each of `at`, to about h^2; `at` is as before afterwards.
template <class Objective>
std::vector<double> central_differences(std::vector<double>& at, const Objective& objective,
                                        double h = 1e-5) {
  std::vector<double> d;
  for (double& v : at) {
    const double kept = v;
    v = kept + h;
    const double above = objective();
    v = kept - h;
    d.push_back((above - objective()) / (2 * h));
    v = kept;
  }
  return d;
}

}  // namespace unroll::test
