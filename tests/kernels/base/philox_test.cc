// philox.h against the known answers that its authors publish with Random123 (file kat_vectors).
#include "kernels/base/philox.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace unroll {
namespace {

void expect_words(const Philox4& got, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  EXPECT_EQ(got.v[0], a);
  EXPECT_EQ(got.v[1], b);
  EXPECT_EQ(got.v[2], c);
  EXPECT_EQ(got.v[3], d);
}

TEST(Philox, KnownAnswers) {
  constexpr uint32_t kOnes = 0xffffffffu;
  expect_words(philox(0, 0, 0, 0, 0), 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
  expect_words(philox(kOnes, kOnes, kOnes, kOnes, ~uint64_t(0)), 0x408f276d, 0x41c83b0e, 0xa20bc7c6,
               0x6d5451fd);
  // Digits of pi.
  expect_words(philox(0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0x299f31d0a4093822u),
               0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1);
}

TEST(Philox, EveryPartOfTheCounterMatters) {
  const auto first_word = [](uint64_t seed, uint64_t step, uint32_t op, uint64_t block) {
    return philox_block(seed, step, op, block).v[0];
  };
  const std::set<uint32_t> words = {first_word(1, 1, 1, 1),
                                    first_word(2, 1, 1, 1),
                                    first_word(1, 2, 1, 1),
                                    first_word(1, 1, 2, 1),
                                    first_word(1, 1, 1, 2),
                                    first_word(1, 1, 1, 1 + (uint64_t(1) << 32)),
                                    first_word(1 + (uint64_t(1) << 32), 1, 1, 1)};
  EXPECT_EQ(words.size(), 7u);
}

TEST(Philox, UniformIsInTheOpenInterval) {
  EXPECT_GT(uniform_open(0), 0.0f);
  EXPECT_LE(uniform_open(0xffffffffu), 1.0f);
  EXPECT_EQ(uniform_open(0xffffffffu), 1.0f);
  double sum = 0, squares = 0;
  constexpr int kBlocks = 25000;
  for (int block = 0; block < kBlocks; ++block)
    for (uint32_t word : philox_block(7, 3, 5, uint64_t(block)).v) {
      const double x = uniform_open(word);
      sum += x;
      squares += x * x;
    }
  const double mean = sum / (4 * kBlocks);
  // Five standard errors of 100,000 uniform numbers: 0.289 / sqrt(1e5) and 0.0745 / sqrt(1e5).
  EXPECT_NEAR(mean, 0.5, 5 * 0.289 / std::sqrt(4.0 * kBlocks));
  EXPECT_NEAR(squares / (4 * kBlocks) - mean * mean, 1.0 / 12,
              5 * 0.0745 / std::sqrt(4.0 * kBlocks));
}

}  // namespace
}  // namespace unroll
