// The non-monotone criterion of NT-ASGD.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace unroll {

// Whether `loss` is worse than the best of all validations `before` it but the `nonmono` ones just
// before it. Merity, Keskar & Socher 2018, algorithm 1, as the authors' code has it: the index in
// the printed algorithm is off.
inline bool nonmonotone(const std::vector<double>& before, double loss, int64_t nonmono) {
  if (int64_t(before.size()) <= nonmono) return false;
  return loss > *std::min_element(before.begin(), before.end() - nonmono);
}

}  // namespace unroll
