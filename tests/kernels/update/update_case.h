// What the tests of the update kernels share: hyper-parameters as the step inputs hold them, the
// norm and the clip factor in double.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/update/update.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {

struct UpdateCase {
  double lr, clip, decay;
};
// Clipping off, on without effect, on with effect; with and without decay.
constexpr UpdateCase kUpdateCases[] = {
    {0.5, 0, 0}, {0.5, 1e6, 0.1}, {0.25, 0.75, 0}, {0.5, 2, 0.05}};
constexpr int64_t kUpdateLengths[] = {1, 33, 1001};

inline double sum_of_squares(const std::vector<double>& g) {
  double sum = 0;
  for (double v : g) sum += v * v;
  return sum;
}

// min(1, clip / |g|), written apart from kernels/update/update.h.
inline double clip_oracle(double clip, const std::vector<double>& g) {
  const double norm = std::sqrt(sum_of_squares(g)) + 1e-6;
  return clip > 0 && norm > clip ? clip / norm : 1.0;
}

}  // namespace unroll::test
