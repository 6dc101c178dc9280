// fast_math.h against the C library in double, over a sample of all floats.
#include "kernels/base/fast_math.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

namespace unroll {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Calls body(x) for every 1009th float that is a finite number: 4.2 million of them, all
// magnitudes.
template <class Body>
void for_sampled_floats(const Body& body) {
  for (uint64_t bits = 0; bits <= 0xffffffffu; bits += 1009) {
    const float x = std::bit_cast<float>(uint32_t(bits));
    if (std::isfinite(x)) body(x);
  }
}

TEST(FastMath, ExpIsAccurate) {
  double worst = 0, worst_denormal = 0;
  for_sampled_floats([&](float x) {
    const double expected = std::exp(double(x)), got = fast_exp(x);
    if (expected > double(std::numeric_limits<float>::max()))
      EXPECT_GE(got, 3.4e38) << x;
    else if (expected < double(std::numeric_limits<float>::min()))
      worst_denormal = std::max(worst_denormal, std::abs(got - expected));
    else
      worst = std::max(worst, std::abs(got - expected) / expected);
  });
  EXPECT_LT(worst, 3e-7);
  EXPECT_LT(worst_denormal, 2 * double(std::numeric_limits<float>::denorm_min()));
}

TEST(FastMath, TermsOfASumAreAccurateAndNeverSubnormal) {
  double worst = 0;
  for_sampled_floats([&](float x) {
    if (x > 0) return;
    const double expected = std::exp(double(x)), got = fast_exp_term(x);
    if (x < -60)
      EXPECT_EQ(got, 0) << x;
    else
      worst = std::max(worst, std::abs(got - expected) / expected);
  });
  EXPECT_LT(worst, 3e-7);
  EXPECT_EQ(fast_exp_term(0.0f), 1.0f);
  EXPECT_EQ(fast_exp_term(-kInf), 0.0f);
  EXPECT_TRUE(std::isnan(fast_exp_term(kNan)));
}

TEST(FastMath, TanhIsAccurate) {
  double worst = 0;
  for_sampled_floats([&](float x) {
    const double expected = std::tanh(double(x)), got = fast_tanh(x);
    if (std::abs(expected) < double(std::numeric_limits<float>::min()))
      EXPECT_EQ(got, double(x));
    else
      worst = std::max(worst, std::abs(got - expected) / std::abs(expected));
  });
  EXPECT_LT(worst, 3e-7);
}

TEST(FastMath, Edges) {
  EXPECT_EQ(fast_exp(0.0f), 1.0f);
  EXPECT_EQ(fast_exp(kInf), kInf);
  EXPECT_EQ(fast_exp(-kInf), 0.0f);
  EXPECT_EQ(fast_exp(1000.0f), kInf);
  EXPECT_EQ(fast_exp(-1000.0f), 0.0f);
  EXPECT_TRUE(std::isfinite(fast_exp(88.72f)));
  EXPECT_TRUE(std::isnan(fast_exp(kNan)));
  EXPECT_EQ(fast_tanh(0.0f), 0.0f);
  EXPECT_EQ(fast_tanh(kInf), 1.0f);
  EXPECT_EQ(fast_tanh(-kInf), -1.0f);
  EXPECT_TRUE(std::isnan(fast_tanh(kNan)));
}

}  // namespace
}  // namespace unroll
