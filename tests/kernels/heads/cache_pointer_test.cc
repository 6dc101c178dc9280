// cache_pointer.h: streams in chunks of odd lengths against the definition in double, windows that
// wrap round the ring, several settings at once, sums over the vocabulary.
#include "kernels/heads/cache_pointer.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

constexpr int kWords = 5;

// p of every row of a stream as the definition reads: rows [count,D].
std::vector<double> oracle(const std::vector<double>& h, const std::vector<double>& target,
                           int64_t D, const CacheSetting& setting) {
  const int64_t count = int64_t(target.size());
  const auto product = [&](int64_t a, int64_t b) {
    double sum = 0;
    for (int64_t d = 0; d < D; ++d) sum += h[size_t(a * D + d)] * h[size_t(b * D + d)];
    return sum;
  };
  std::vector<double> p;
  for (int64_t t = 0; t < count; ++t) {
    double all = 0, hits = 0;
    for (int64_t i = std::max<int64_t>(0, t - setting.window); i < t; ++i) {
      const double e = std::exp(setting.theta * product(t, i));
      all += e;
      if (target[size_t(i)] == target[size_t(t)]) hits += e;
    }
    p.push_back(all > 0 ? hits / all : 0);
  }
  return p;
}

// A ring on a device that is fed a stream chunk by chunk.
struct Ring {
  Ring(const Backend& b, DType act, int64_t rows, int64_t width)
      : backend(b),
        R(rows),
        D(width),
        memory(b, act, {rows, width}, 3),
        ids(b, DType::i32, {rows}, 2),
        seen(b, DType::u64, {1}) {
    seen.fill(0.0);
  }
  // p [N,K] of the next rows.
  std::vector<double> feed(const std::vector<double>& h_values,
                           const std::vector<double>& target_values,
                           const std::vector<CacheSetting>& settings) {
    const DType act = memory.view.dtype;
    const int64_t N = int64_t(target_values.size()), K = int64_t(settings.size());
    Array<2> h(backend, act, {N, D}, 1), p(backend, accumulate_type(act), {N, K}, 2);
    Array<1> target(backend, DType::i32, {N});
    h.fill(h_values);
    target.fill(target_values);
    const size_t bytes = cache_pointer_scratch_bytes(act, N, R);
    Array<1> scratch(backend, DType::u8, {int64_t(bytes)}, 64);
    cache_pointer(backend.exec(), {.p = p,
                                   .memory = memory,
                                   .ids = ids,
                                   .seen = seen,
                                   .h = h,
                                   .target = target,
                                   .settings = settings.data(),
                                   .scratch = {scratch.view.data, bytes}});
    backend.stream().synchronize();
    EXPECT_TRUE(p.padding_untouched() && memory.padding_untouched() && ids.padding_untouched() &&
                scratch.padding_untouched());
    return p.read();
  }
  const Backend& backend;
  int64_t R, D;
  Array<2> memory;
  Array<1> ids, seen;
};

using CachePointerTest = OnTargets;

TEST_P(CachePointerTest, AStreamInChunksEqualsTheDefinition) {
  // A window shorter than a chunk, of one pair, longer than a chunk; theta 0. The ring is only just
  // long enough.
  const std::vector<CacheSetting> settings = {{7, 0.9}, {1, 0.9}, {41, 0}, {41, 2.5}, {90, 0.4}};
  constexpr int64_t D = 13, kRows = 130;
  const std::vector<double> h = random_values(kRows * D, act(), 1),
                            target = random_ids(kRows, kWords, 2);
  Ring ring(backend(), act(), 90 + 33, D);
  std::vector<std::vector<double>> got(settings.size());
  const int64_t lengths[] = {1, 2, 33, 7, 19, 33, 33};
  for (int64_t first = 0, chunk = 0; first < kRows; ++chunk) {
    const int64_t N = std::min(lengths[chunk % 7], kRows - first);
    const auto p = ring.feed({h.begin() + first * D, h.begin() + (first + N) * D},
                             {target.begin() + first, target.begin() + first + N}, settings);
    for (size_t i = 0; i < p.size(); ++i) got[i % settings.size()].push_back(p[i]);
    first += N;
  }
  for (size_t k = 0; k < settings.size(); ++k)
    expect_close(got[k], oracle(h, target, D, settings[k]),
                 act() == DType::bf16 ? 2e-5 : tolerance(GetParam()),
                 "setting " + std::to_string(k));
  EXPECT_EQ(ring.seen.read(), std::vector<double>{double(kRows)});
}

TEST_P(CachePointerTest, SumsToOneOverTheVocabulary) {
  constexpr int64_t D = 5;
  const std::vector<double> h = random_values(12 * D, act(), 3), ids = random_ids(11, kWords, 4);
  std::vector<double> sum(2);
  for (int word = 0; word < kWords; ++word) {
    Ring ring(backend(), act(), 60, D);
    const std::vector<CacheSetting> settings = {{5, 1.5}, {30, 0.2}};
    ring.feed({h.begin(), h.end() - D}, ids, settings);
    const auto p = ring.feed({h.end() - D, h.end()}, {double(word)}, settings);
    for (size_t k = 0; k < 2; ++k) sum[k] += p[k];
  }
  expect_close(sum, {1, 1}, acc() == DType::f64 ? 1e-14 : 1e-6, "sum over the words");
}

TEST_P(CachePointerTest, LargeProductsNeitherOverflowNorLoseTheAnswer) {
  constexpr int64_t D = 4;
  Ring ring(backend(), act(), 9, D);
  const std::vector<CacheSetting> settings = {{6, 100}};
  ring.feed({64, 0, 0, 0, 0, 64, 0, 0}, {1, 2}, settings);
  EXPECT_EQ(ring.feed({64, 0, 0, 0}, {1}, settings), std::vector<double>{1});
  EXPECT_EQ(ring.feed({0, 64, 0, 0}, {1}, settings), std::vector<double>{0});
}

TEST_P(CachePointerTest, NothingSeenAndNoTargetGiveZero) {
  Ring ring(backend(), act(), 9, 2);
  EXPECT_EQ(ring.feed({1, 1, 1, 1}, {3, -1}, {{4, 1}}), (std::vector<double>{0, 0}));
}

TEST_P(CachePointerTest, TwoRunsAreBitEqual) {
  constexpr int64_t D = 7;
  std::vector<double> first;
  for (int run = 0; run < 2; ++run) {
    Ring ring(backend(), act(), 77, D);
    ring.feed(random_values(37 * D, act(), 5), random_ids(37, kWords, 6), {{40, 1}});
    const auto p = ring.feed(random_values(33 * D, act(), 7), random_ids(33, kWords, 8), {{40, 1}});
    if (first.empty()) first = p;
    EXPECT_EQ(p, first);
  }
}

TEST_P(CachePointerTest, RefusesBadArguments) {
  const std::vector<double> h(4), target(2);
  Ring ring(backend(), act(), 9, 2);
  EXPECT_THROW(ring.feed(h, target, {}), Error);
  EXPECT_THROW(ring.feed(h, target, {{0, 1}}), Error);
  EXPECT_THROW(ring.feed(h, target, {{8, 1}}), Error);  // 9 rows hold 2 new ones and 7
  EXPECT_THROW(ring.feed(h, target, {{7, -1}}), Error);
  EXPECT_THROW(ring.feed(h, target, std::vector<CacheSetting>(kMaxCacheSettings + 1, {1, 1})),
               Error);
  cache_pointer(backend().measuring(), {});
}

UNROLL_ON_TARGETS(CachePointerTest);

}  // namespace
}  // namespace unroll::test
