// exp and tanh in plain arithmetic, so that the compiler turns loops over them into vector code;
// calls into the C library would keep such loops scalar. CPU code only.
//
// float: relative error below 3e-7 over the whole range (a denormal result: one unit in the last
// place more), NaN passes through, exp(-inf) = 0, exp of 88.8 and up = inf. double: the C
// library's.
//
// Range reduction and polynomials as in Cephes (Moshier 1989), expf.c and tanhf.c.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace unroll {

// e^x = p 2^n, for x of -104 to 89.
struct ExpParts {
  float p;
  int32_t n;
};
inline ExpParts exp_parts(float x) {
  // n = round(x / ln 2): adding 1.5 * 2^23 leaves the integer in the low bits.
  constexpr float kShift = 12582912.0f;
  const float shifted = x * 1.44269504088896341f + kShift;
  const float n = shifted - kShift;
  // r = x - n ln 2, with ln 2 in two parts of which the first times n is exact.
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return {p * r * r + r + 1.0f, std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(kShift)};
}

// e^x
inline float fast_exp(float x) {
  // Beyond these bounds the result is 0 or inf anyway; comparisons are such that a NaN stays.
  x = x < -104.0f ? -104.0f : x;
  x = x > 89.0f ? 89.0f : x;
  const ExpParts e = exp_parts(x);
  // 2^n in two factors: n reaches 128 and -150, where one factor has no normal representation.
  const int32_t half = e.n >> 1;
  const float scale_1 = std::bit_cast<float>((half + 127) << 23);
  const float scale_2 = std::bit_cast<float>((e.n - half + 127) << 23);
  return e.p * scale_1 * scale_2;
}
inline double fast_exp(double x) { return std::exp(x); }

// e^x for x <= 0 in a sum whose largest term is 1, as of a softmax. Terms below e^-60 become 0: they
// change nothing, but they or their products with f32 would be subnormal, on which matrix products
// run several times slower.
inline float fast_exp_term(float x) {
  const ExpParts e = exp_parts(x < -60.0f ? -60.0f : x);
  const float term = e.p * std::bit_cast<float>((e.n + 127) << 23);
  return x < -60.0f ? 0.0f : term;
}
inline double fast_exp_term(double x) { return x < -60 ? 0 : std::exp(x); }

inline float fast_tanh(float x) {
  const float a = std::fabs(x);
  // Small: an odd polynomial, which keeps the relative error small where tanh x is close to x.
  const float z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  const float small = p * z * x + x;
  const float large = std::copysign(1.0f - 2.0f / (fast_exp(2.0f * a) + 1.0f), x);
  return a < 0.625f ? small : large;
}
inline double fast_tanh(double x) { return std::tanh(x); }

}  // namespace unroll
