// The kernels that measure the planner's constants compute what they say: a kernel that skips its
// work would be fast.
#include "bench/kernels/recurrent_constants.h"

#include <gtest/gtest.h>

#include <array>

#include "kernels/base/dtype.h"
#include "tests/gpu_on_cpu/device_array.h"

namespace unroll::bench {
namespace {

using gpu_on_cpu::DeviceArray;
constexpr int kThreads = kConstantsThreads;

std::vector<uint32_t> expected_exchange(const ExchangeRun& r) {
  const int n = r.shares * r.block_words;
  std::vector<uint32_t> sums(size_t(r.groups * r.shares * kThreads));
  for (int g = 0; g < r.groups; ++g) {
    std::vector<uint32_t> S(kThreads, 0);
    for (int i = 0; i < r.steps; ++i) {
      std::vector<uint32_t> next(kThreads, 0);
      for (int w = 0; w < n; ++w) {
        const int block = g * r.shares + w / r.block_words, j = w % r.block_words;
        next[size_t(w / 4 % kThreads)] +=
            (S[size_t(j % kThreads)] + uint32_t(block) + 1) & 0x7fffffffu;
      }
      S = next;
    }
    for (int b = 0; b < r.shares; ++b)
      std::copy(S.begin(), S.end(), sums.begin() + (g * r.shares + b) * kThreads);
  }
  return sums;
}

class ExchangeTest : public testing::TestWithParam<Exchange> {};

TEST_P(ExchangeTest, EveryBlockSeesTheWordsOfItsGroup) {
  for (const auto& [groups, shares, words] : {std::array{2, 3, 300}, std::array{1, 3, 4}}) {
    ExchangeRun run{GetParam(), nullptr, nullptr, nullptr, 6, groups, shares, words};
    const bool flags = run.how == Exchange::watch_all || run.how == Exchange::watch_one;
    DeviceArray<uint32_t> entries(size_t(run.steps) * groups * shares * words, 0u);
    DeviceArray<uint32_t> counter(1, 0u), sums(size_t(groups) * shares * kThreads);
    run.words = entries.data();
    run.counter = counter.data();
    run.sums = sums.data();
    if (flags) fill_words(nullptr, run.words, int64_t(entries.size()), 0xffffffffu);
    run_exchange(nullptr, run);
    EXPECT_EQ(sums.values(), expected_exchange(run));
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, ExchangeTest,
                         testing::Values(Exchange::grid_barrier, Exchange::counter,
                                         Exchange::watch_all, Exchange::watch_one,
                                         Exchange::cluster_read, Exchange::cluster_write,
                                         Exchange::cluster_watch));

TEST(ResidentGroups, OfClustersAndOfTheGrid) {
  ExchangeRun run{Exchange::watch_one, nullptr, nullptr, nullptr, 1, 1, 72, 4};
  EXPECT_EQ(resident_groups(run), 132 * 8 / 72);
  run.how = Exchange::cluster_write;
  run.shares = 8;
  run.block_words = 3200;  // 200 KB: one block on a multiprocessor
  EXPECT_EQ(resident_groups(run), 16);
  run.block_words = 4000;
  EXPECT_EQ(resident_groups(run), 0);
}

// Row r and column c of the fragments that the 32 lanes of an mma hold (kernels/base/gpu.h).
struct Small {
  uint32_t operator()() { return state = state * 1664525u + 1013904223u, state >> 24 & 3u; }
  uint32_t state = 1;
};

void expect_products(bool tf32, bool in_shared, int N) {
  constexpr int kRounds = 2;
  const size_t a_words = 8 * 4 * 4 * 2 * 32 * 4, b_words = size_t(8) * 4 * N * 32 * 4;
  // 0, 1, 2 or 3 in every number of every word.
  Small draw;
  const auto word = [&] {
    if (tf32) return __builtin_bit_cast(uint32_t, float(draw()));
    const uint32_t low = bf16(float(draw())).bits, high = bf16(float(draw())).bits;
    return low | high << 16;
  };
  std::vector<uint32_t> a(a_words), b(b_words);
  for (uint32_t& w : a) w = word();
  for (uint32_t& w : b) w = word();
  DeviceArray<uint32_t> da(a), db(b);
  DeviceArray<float> d(size_t(8) * 4 * N * 32 * 4);
  run_math(nullptr, {tf32, in_shared, N, da.data(), db.data(), d.data(), kRounds, 2});
  const std::vector<float> got = d.values();

  const auto numbers = [&](uint32_t w) -> std::array<float, 2> {
    if (tf32) return {__builtin_bit_cast(float, w), 0};
    bf16 low, high;
    low.bits = uint16_t(w);
    high.bits = uint16_t(w >> 16);
    return {float(low), float(high)};
  };
  // Both operands of a lane are the same eight or four columns of K, so the product of row g and
  // lane c is the sum over the four threads of a quad and their words.
  for (int warp = 0; warp < 8; ++warp)
    for (int m = 0; m < 4; ++m)
      for (int n = 0; n < N; ++n)
        for (int lane = 0; lane < 32; ++lane)
          for (int e = 0; e < 4; ++e) {
            const int g = lane / 4, half = e / 2, column = lane % 4 * 2 + e % 2;
            float sum = 0;
            for (int round = 0; round < kRounds; ++round)
              for (int j = 0; j < 4; ++j) {
                const int turn = (j + round) % 4, ja = in_shared ? turn : j;
                for (int t = 0; t < 4; ++t)
                  for (int w = 0; w < 4; ++w) {
                    const auto x = numbers(a[size_t(
                        ((((warp * 4 + ja) * 4 + m) * 2 + half) * 32 + 4 * g + t) * 4 + w)]);
                    const auto y = numbers(
                        b[size_t((((warp * 4 + turn) * N + n) * 32 + 4 * column + t) * 4 + w)]);
                    sum += x[0] * y[0] + x[1] * y[1];
                  }
              }
            ASSERT_EQ(got[size_t((((warp * 4 + m) * N + n) * 32 + lane) * 4 + e)], sum)
                << "warp " << warp << " tile " << m << "," << n << " lane " << lane << " " << e;
          }
}

TEST(RecurrentConstants, Products) {
  for (const bool tf32 : {false, true}) {
    expect_products(tf32, false, 2);
    expect_products(tf32, true, 1);
  }
}

TEST(RecurrentConstants, SumsOverWarps) {
  constexpr int N = 2, kRounds = 3;
  DeviceArray<float> total(kThreads);
  run_reduce(nullptr, total.data(), N, kRounds, 2);
  // 64 N items of 4 row tiles and two numbers, among 256 threads.
  for (int t = 0; t < kThreads; ++t)
    EXPECT_EQ(total.values()[size_t(t)], t < 64 * N ? float(kRounds * 4 * 2 * 28) : 0.0f) << t;
}

TEST(RecurrentConstants, EveryNodeCounts) {
  for (const bool early : {false, true}) {
    DeviceArray<uint32_t> counter(1, 0u);
    for (int i = 0; i < 5; ++i) run_node(nullptr, counter.data(), 3, early);
    EXPECT_EQ(counter.values()[0], 5u);
  }
}

TEST(RecurrentConstants, LoadsEveryWord) {
  constexpr int kBlocks = 2;
  std::vector<uint32_t> data(size_t(kBlocks) * kLoadWords);
  for (size_t i = 0; i < data.size(); ++i) data[i] = uint32_t(i * 2654435761u);
  DeviceArray<uint32_t> on_device(data);
  std::vector<uint32_t> expected(size_t(kBlocks) * kThreads, 0);
  for (size_t i = 0; i < data.size(); ++i)
    expected[i / kLoadWords * kThreads + i % kLoadWords / 4 % kThreads] ^= data[i];
  for (const Load to : {Load::registers, Load::shared}) {
    DeviceArray<uint32_t> sums(size_t(kBlocks) * kThreads);
    run_load(nullptr, on_device.data(), sums.data(), to, kBlocks);
    EXPECT_EQ(sums.values(), expected);
  }
  DeviceArray<uint32_t> none(size_t(kBlocks) * kThreads);
  run_load(nullptr, on_device.data(), none.data(), Load::nothing, kBlocks);
  EXPECT_EQ(none.values(), std::vector<uint32_t>(size_t(kBlocks) * kThreads, 0));
}

TEST(RecurrentConstants, IngestsWhatItIsTold) {
  constexpr int kBlocks = 2, kVectors = 700, kStride = 512, kRounds = 2;
  std::vector<uint32_t> data(size_t(kStride + kVectors) * 4);
  for (size_t i = 0; i < data.size(); ++i) data[i] = uint32_t(i * 2654435761u);
  DeviceArray<uint32_t> on_device(data), sums(size_t(kBlocks) * kThreads);
  run_ingest(nullptr, {on_device.data(), sums.data(), kVectors, kStride, kRounds, kBlocks});
  std::vector<uint32_t> expected(sums.size(), 0);
  for (int b = 0; b < kBlocks; ++b)
    for (int round = 0; round < kRounds; ++round) {
      for (int v = 0; v < kVectors; ++v)
        for (int e = 0; e < 4; ++e)
          expected[size_t(b * kThreads + v % kThreads)] ^= data[size_t((b * kStride + v) * 4 + e)];
      for (int t = 0; t < kThreads; ++t) {
        uint32_t& x = expected[size_t(b * kThreads + t)];
        x = x << 1 | x >> 31;
      }
    }
  EXPECT_EQ(sums.values(), expected);
}

TEST(RecurrentConstants, ReadsAllSharedMemory) {
  constexpr int kRounds = 2, kVectors = kSharedWords / 4 / kThreads;
  DeviceArray<uint32_t> sums(kThreads);
  run_shared(nullptr, sums.data(), kRounds, 2);
  for (uint32_t t = 0; t < kThreads; ++t) {
    uint32_t x = 0;
    for (int round = 0; round < kRounds; ++round) {
      for (uint32_t i = 0; i < kVectors; ++i) x ^= 16 * (t + i * kThreads) + 6;
      x = x << 1 | x >> 31;
    }
    EXPECT_EQ(sums.values()[t], x) << t;
  }
}

TEST(RecurrentConstants, FollowsAChain) {
  DeviceArray<uint32_t> data(std::vector<uint32_t>{3, 4, 0, 1, 2}), last(1);
  run_chase(nullptr, data.data(), last.data(), 3);
  EXPECT_EQ(last.values()[0], 4u);
}

TEST(RecurrentConstants, MultipliesAndAddsInAChain) {
  DeviceArray<float> y(32, 10.0f);
  run_clock(nullptr, y.data(), 1);
  float x = 10;
  for (int i = 0; i < 64; ++i) x = x * 0.5f + 1;
  EXPECT_EQ(y.values()[31], x);
}

}  // namespace
}  // namespace unroll::bench
