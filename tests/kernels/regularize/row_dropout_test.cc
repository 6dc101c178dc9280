// row_dropout.h: whole words are dropped, equal words together.
#include "kernels/regularize/row_dropout.h"

#include "kernels/base/error.h"
#include "kernels/base/philox.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

constexpr uint64_t kSeed = 5, kStep = 11;
constexpr uint32_t kOp = 3;

class RowDropoutTest : public OnTargets {
 protected:
  void run(const View2& y, const View2& x, const std::vector<double>& ids, double p) {
    Array<1> counter(backend(), DType::u64, {2}),
        words(backend(), DType::i32, {int64_t(ids.size())});
    counter.fill({double(kSeed), double(kStep)});
    words.fill(ids);
    row_dropout(exec(),
                {.y = y, .x = x, .ids = words, .p = p, .key = {.counter = counter, .op = kOp}});
    synchronize();
  }
};

TEST_P(RowDropoutTest, RowsAreThoseOfTheHeader) {
  for (int64_t D : {1, 13, 36, 65})
    for (double p : {0.0, 0.1, 0.5}) {
      const int64_t N = 41;
      std::vector<double> ids = random_ids(N, 12, 1);
      ids[7] = -1;
      const auto values = random_values(N * D, act(), 2);
      std::vector<double> expected = values;
      for (int64_t n = 0; n < N; ++n) {
        const int64_t v = int64_t(ids[size_t(n)]);
        const bool kept = v >= 0 && philox_block(kSeed, kStep, kOp, uint64_t(v / 4)).v[v % 4] >=
                                        uint32_t(std::llround(p * 4294967296.0));
        for (int64_t d = 0; d < D; ++d) expected[size_t(n * D + d)] *= kept ? 1 / (1 - p) : 0;
      }
      Array<2> x(backend(), act(), {N, D}, row_pad(D, 3)),
          y(backend(), act(), {N, D}, row_pad(D, 1));
      x.fill(values);
      run(y, x, ids, p);
      expect_close(y.read(), expected, tolerance(GetParam()), "y");
      EXPECT_TRUE(y.padding_untouched());
      run(x, x, ids, p);
      EXPECT_EQ(x.read(), y.read()) << "in place";
    }
}

TEST_P(RowDropoutTest, KeepsTheRightFractionOfWords) {
  const int64_t V = 4000;
  std::vector<double> ids;
  for (int64_t v = 0; v < V; ++v) ids.push_back(double(v));
  Array<2> x(backend(), act(), {V, 1}), y(backend(), act(), {V, 1});
  x.fill(1.0);
  run(y, x, ids, 0.2);
  double kept = 0;
  for (double v : y.read()) kept += v != 0;
  EXPECT_NEAR(kept / double(V), 0.8, 5 * std::sqrt(0.16 / double(V)));
}

TEST_P(RowDropoutTest, RefusesBadArguments) {
  Array<2> x(backend(), act(), {3, 4}), y(backend(), act(), {3, 5});
  EXPECT_THROW(run(y, x, {0, 1, 2}, 0.5), Error);
  EXPECT_THROW(run(x, x, {0, 1}, 0.5), Error);
  EXPECT_THROW(run(x, x, {0, 1, 2}, 1.0), Error);
  row_dropout(backend().measuring(), {});
}

UNROLL_ON_TARGETS(RowDropoutTest);

}  // namespace
}  // namespace unroll::test
