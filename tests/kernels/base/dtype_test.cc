// dtype.h: bf16 rounds to nearest even and keeps what is not a number.
#include "kernels/base/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace unroll {
namespace {

uint16_t bits_of(uint32_t f32_bits) { return bf16(std::bit_cast<float>(f32_bits)).bits; }

TEST(Bf16, RoundsToNearestEven) {
  EXPECT_EQ(bits_of(0x3f800000), 0x3f80);  // 1
  EXPECT_EQ(bits_of(0x3f807fff), 0x3f80);  // just below half way: down
  EXPECT_EQ(bits_of(0x3f808000), 0x3f80);  // half way, even below: down
  EXPECT_EQ(bits_of(0x3f808001), 0x3f81);  // just above half way: up
  EXPECT_EQ(bits_of(0x3f818000), 0x3f82);  // half way, odd below: up
  EXPECT_EQ(bits_of(0x3fffffff), 0x4000);  // the carry runs into the exponent
  EXPECT_EQ(bits_of(0xbf808001), 0xbf81);  // the sign stays
  EXPECT_EQ(bits_of(0x7f7fffff), 0x7f80);  // the largest float is nearer to infinity
  EXPECT_EQ(bits_of(0x00000001), 0x0000);
  EXPECT_EQ(bits_of(0x80000000), 0x8000);
}

TEST(Bf16, KeepsInfinityAndNan) {
  EXPECT_EQ(float(bf16(INFINITY)), INFINITY);
  EXPECT_EQ(float(bf16(-INFINITY)), -INFINITY);
  // A NaN whose payload lies in the lower half only, and one that rounding up would carry over the
  // sign.
  EXPECT_TRUE(std::isnan(float(bf16(std::bit_cast<float>(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(float(bf16(std::bit_cast<float>(0x7fffffffu)))));
  EXPECT_TRUE(std::isnan(float(bf16(std::bit_cast<float>(0xffffffffu)))));
}

TEST(Bf16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t i = 0; i < 0x10000; ++i) {
    bf16 x;
    x.bits = uint16_t(i);
    if (std::isnan(float(x))) continue;
    ASSERT_EQ(bf16(float(x)).bits, i);
  }
}

TEST(DType, SizesAndAccumulateTypes) {
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_EQ(size_of(DType::f32), sizeof(float));
  EXPECT_EQ(size_of(DType::f64), sizeof(double));
  EXPECT_EQ(accumulate_type(DType::bf16), DType::f32);
  EXPECT_EQ(accumulate_type(DType::f32), DType::f32);
  EXPECT_EQ(accumulate_type(DType::f64), DType::f64);
}

}  // namespace
}  // namespace unroll
