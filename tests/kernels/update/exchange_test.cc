// exchange.h: contents swapped, and the shadow follows.
#include "kernels/update/exchange.h"

#include "kernels/base/error.h"
#include "tests/kernels/update/slab_case.h"

namespace unroll::test {
namespace {

using ExchangeTest = OnTargets;

TEST_P(ExchangeTest, SwapsContentsAndRewritesTheShadow) {
  SlabCase s(backend(), act(), SlabCase::small());
  const auto x = random_values(s.n, acc(), 1), y = random_values(s.n, acc(), 2);
  const auto first = s.spread([&](int64_t k) { return x[size_t(k)]; });
  const auto second = s.spread([&](int64_t k) { return y[size_t(k)]; });
  s.theta.fill(first);
  s.a.fill(second);
  const Exchange args{
      .theta = s.theta, .other = s.a, .shadow = s.params.shadow(), .pieces = s.piece_table()};
  for (int turn = 0; turn < 2; ++turn) {
    exchange(exec(), args);
    synchronize();
    EXPECT_EQ(s.theta.read(), turn == 0 ? second : first);
    EXPECT_EQ(s.a.read(), turn == 0 ? first : second);
    s.expect_shadow(turn == 0 ? second : first);
  }
  EXPECT_TRUE(s.theta.padding_untouched() && s.a.padding_untouched());
}

TEST_P(ExchangeTest, WithoutAnotherSlabTheShadowAloneIsWritten) {
  SlabCase s(backend(), act(), SlabCase::small());
  s.theta.fill(random_values(s.n, acc(), 3));
  const auto before = s.theta.bytes();
  exchange(exec(), {.theta = s.theta, .shadow = s.params.shadow(), .pieces = s.piece_table()});
  synchronize();
  EXPECT_EQ(s.theta.bytes(), before);
  s.expect_shadow(s.theta.read());
}

TEST_P(ExchangeTest, RefusesBadShapes) {
  SlabCase s(backend(), act(), SlabCase::small());
  EXPECT_THROW(
      exchange(exec(),
               {.theta = s.theta, .other = s.a.view.slice(0, s.n - 1), .pieces = s.piece_table()}),
      Error);
  exchange(backend().measuring(), {});
}

UNROLL_ON_TARGETS(ExchangeTest);

}  // namespace
}  // namespace unroll::test
