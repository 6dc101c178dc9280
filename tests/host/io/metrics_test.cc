// Perplexity, bits and short numbers.
#include "host/io/metrics.h"

#include <gtest/gtest.h>

#include <cmath>

namespace unroll {
namespace {

TEST(Metrics, PerplexityAndBits) {
  // A uniform guess among 50 words has perplexity 50, whatever the count.
  EXPECT_NEAR(perplexity(7 * std::log(50.0), 7), 50, 1e-12);
  EXPECT_NEAR(bits_per_unit(7 * std::log(8.0), 7), 3, 1e-14);
  EXPECT_TRUE(std::isnan(perplexity(0, 0)));
  EXPECT_TRUE(std::isnan(bits_per_unit(1, 0)));
  EXPECT_TRUE(std::isinf(perplexity(1e6, 1)));
}

TEST(Metrics, ShortNumbers) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(999), "999");
  EXPECT_EQ(human_count(999.6), "1.00k");
  EXPECT_EQ(human_count(8249), "8.25k");
  EXPECT_EQ(human_count(310'400), "310k");
  EXPECT_EQ(human_count(999'700), "1.00M");
  EXPECT_EQ(human_count(4'653'200), "4.65M");
  EXPECT_EQ(human_count(66.03e6), "66.0M");
  EXPECT_EQ(human_count(1.2e9), "1.20G");
  EXPECT_EQ(human_bytes(512), "512 B");
  EXPECT_EQ(human_bytes(1536), "1.50 KiB");
  EXPECT_EQ(human_bytes(300.0 * (1 << 20)), "300 MiB");
  EXPECT_EQ(with_commas(0), "0");
  EXPECT_EQ(with_commas(999), "999");
  EXPECT_EQ(with_commas(82430), "82,430");
  EXPECT_EQ(with_commas(-1234567), "-1,234,567");
  EXPECT_EQ(with_commas(-123), "-123");
}

TEST(Metrics, DurationsAndPerplexities) {
  EXPECT_EQ(human_duration(41.4), "00:41");
  EXPECT_EQ(human_duration(59.6), "01:00");
  EXPECT_EQ(human_duration(725), "12:05");
  EXPECT_EQ(human_duration(3 * 3600 + 127), "3:02:07");
  EXPECT_EQ(human_duration(2 * 86400 + 3 * 3600 + 600), "2d 03:10");
  EXPECT_EQ(human_duration(NAN), "?");
  EXPECT_EQ(human_duration(INFINITY), "?");
  EXPECT_EQ(human_duration(-1), "?");
  EXPECT_EQ(human_perplexity(118.404), "118.40");
  EXPECT_EQ(human_perplexity(12034.4), "12034");
  EXPECT_EQ(human_perplexity(1.234e9), "1.2e+09");
  EXPECT_EQ(human_perplexity(INFINITY), "inf");
  EXPECT_EQ(human_perplexity(NAN), "nan");
}

}  // namespace
}  // namespace unroll
