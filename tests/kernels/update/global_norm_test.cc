// global_norm.h: the squared norm of a gradient slab, its fixed order, entries that are not finite.
#include "kernels/update/global_norm.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

constexpr int64_t kLengths[] = {1, 7, 33, kNormBlock - 1, kNormBlock, kNormBlock + 1, 100003};

class GlobalNormTest : public OnTargets {
 protected:
  double run(const Exec& exec, Array<1>& g) {
    const int64_t n = g.view.n[0];
    const size_t bytes = global_norm_scratch_bytes(n);
    Array<1> norm2(backend(), DType::f64, {1}, 1),
        scratch(backend(), DType::u8, {int64_t(bytes)}, 64);
    global_norm(exec, {.norm2 = norm2, .g = g, .scratch = {scratch.view.data, bytes}});
    synchronize();
    EXPECT_TRUE(norm2.padding_untouched() && scratch.padding_untouched());
    return norm2.read()[0];
  }
};

TEST_P(GlobalNormTest, EqualsSumOfSquares) {
  for (int64_t n : kLengths) {
    const auto values = random_values(n, acc(), 1, 2);
    double expected = 0;
    for (double v : values) expected += v * v;
    Array<1> g(backend(), acc(), {n});
    g.fill(values);
    EXPECT_NEAR(run(exec(), g) / expected, 1, acc() == DType::f64 ? 1e-13 : 1e-6) << n;
  }
}

// One entry among zeros: none is missed and none is counted twice.
TEST_P(GlobalNormTest, EveryEntryCountsOnce) {
  for (int64_t n : {int64_t(33), kNormBlock + 5})
    for (int64_t i : {int64_t(0), n / 2, n - 6, n - 5, n - 1}) {
      std::vector<double> values(size_t(n), 0);
      values[size_t(i)] = 3;
      Array<1> g(backend(), acc(), {n}, 8);
      g.fill(values);
      EXPECT_EQ(run(exec(), g), 9) << i << " of " << n;
    }
}

TEST_P(GlobalNormTest, NonFiniteEntriesGiveNonFiniteNorm) {
  for (double bad : {NAN, INFINITY, -INFINITY})
    for (int64_t n : kLengths) {
      auto values = random_values(n, acc(), 2);
      values.back() = bad;
      Array<1> g(backend(), acc(), {n});
      g.fill(values);
      EXPECT_FALSE(std::isfinite(run(exec(), g))) << bad << " last of " << n;
    }
}

TEST_P(GlobalNormTest, AnyThreadCountIsBitEqual) {
  Array<1> g(backend(), acc(), {100003});
  g.fill(random_values(100003, acc(), 3));
  Exec one = exec(), three = exec();
  one.threads = 1;
  three.threads = 3;
  const double first = run(one, g);
  EXPECT_EQ(run(three, g), first);
  EXPECT_EQ(run(three, g), first);
}

TEST_P(GlobalNormTest, RefusesBadArguments) {
  Array<1> g(backend(), acc(), {33}), norm2(backend(), DType::f64, {1});
  EXPECT_THROW(global_norm(exec(), {.norm2 = norm2, .g = g, .scratch = {}}), Error) << "no scratch";
  EXPECT_THROW(global_norm(exec(), {.norm2 = g, .g = g, .scratch = {g.view.data, 64}}), Error);
  global_norm(backend().measuring(), {});
}

UNROLL_ON_TARGETS(GlobalNormTest);

}  // namespace
}  // namespace unroll::test
