// Normal numbers from Philox words.
#pragma once

#include <cmath>

#include "kernels/base/philox.h"

namespace unroll {

// Number i, 0 to 3, of the four Normal(0, 1) that a block gives: see gaussian_noise.h.
template <class T>
GPU_HD T normal_of(const Philox4& words, int i) {
  const T a = T(uniform_open(i < 2 ? words.v[0] : words.v[2]));
  const T angle = T(6.283185307179586) * T(uniform_open(i < 2 ? words.v[1] : words.v[3]));
  return std::sqrt(T(-2) * std::log(a)) * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

}  // namespace unroll
