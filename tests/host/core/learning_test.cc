// Tasks that a right program learns within a budget of steps, and the scheduler's figures on the
// way.
#include <gtest/gtest.h>

#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

constexpr int V = 8, T = 12, B = 4;

RnnLm::Config config_of(Cell cell) {
  RnnLm::Config c;
  c.cell = cell;
  c.V = V;
  c.E = 8;
  c.H = 24;
  c.L = 1;
  return c;
}
OptimizerSettings adam() {
  OptimizerSettings s;
  s.rule = OptimizerSettings::Rule::adam;
  return s;
}
void step(TinyLm& lm, const HostChunk& chunk, int n, double lr) {
  StepScalars scalars;
  scalars.update = {lr, 1.0};
  scalars.seed = 1;
  scalars.mask_step = uint64_t(n);
  scalars.weight = 1.0 / double(chunk.tokens);
  lm.scheduler->train(chunk, lm.state, scalars);
}

class LearningTest : public testing::TestWithParam<Cell> {};

// A text of period 7 in which one word has two successors: knowing the last word is not enough. At
// twice this rate the relu cell's state, carried on and on, grows without bound once the loss is 0.
TEST_P(LearningTest, PeriodicText) {
  constexpr int32_t kPeriod[7] = {1, 2, 3, 1, 4, 5, 6};
  TinyLm lm(config_of(GetParam()), T, B, adam(), DType::f32);
  for (int n = 0; n < 150; ++n)
    step(lm,
         make_chunk(T, B, int64_t(n) * T,
                    [&](int64_t b, int64_t i) { return kPeriod[(i + 2 * b) % 7]; }),
         n, 0.01);
  const std::vector<StepFigures> f = lm.scheduler->take_figures();
  EXPECT_NEAR(f[0].nats / f[0].tokens, std::log(V), 0.3);
  EXPECT_LT(f.back().nats / f.back().tokens, 0.05);
}

// Three symbols, a mark, then the same three: scored where they are repeated.
TEST_P(LearningTest, Copy) {
  TinyLm lm(config_of(GetParam()), 7, 32, adam(), DType::f32);
  double last = 0;
  for (int n = 0; n < 1200; ++n) {
    HostChunk c;
    c.T = 7;
    c.B = 32;
    c.input.resize(7 * 32);
    c.target.assign(7 * 32, -1);
    c.keep.assign(32, 0);
    for (int b = 0; b < 32; ++b) {
      uint32_t random = uint32_t(n * 32 + b) * 2654435761u;
      random ^= random >> 15;
      for (int t = 0; t < 3; ++t) {
        const int32_t symbol = int32_t(random >> (2 * t) & 3);
        c.input[size_t(t * 32 + b)] = symbol;
        c.input[size_t((t + 4) * 32 + b)] = symbol;
        c.target[size_t((t + 3) * 32 + b)] = symbol;
      }
      c.input[size_t(3 * 32 + b)] = 7;
    }
    c.tokens = 3 * 32;
    step(lm, c, n, 0.01);
    if (n == 1199) {
      const StepFigures f = lm.scheduler->take_figures().back();
      EXPECT_EQ(f.tokens, 96);
      last = f.nats / f.tokens;
    }
  }
  EXPECT_LT(last, 0.15);  // guessing: ln 4 = 1.39
}

INSTANTIATE_TEST_SUITE_P(Cells, LearningTest,
                         testing::Values(Cell::tanh, Cell::relu, Cell::lstm, Cell::gru),
                         [](const auto& info) { return std::string(info_of(info.param).name); });

// More steps than the ring holds: none is lost, doubled or out of order.
TEST(SchedulerTest, FiguresOfMoreStepsThanTheRingHolds) {
  RnnLm::Config c = config_of(Cell::tanh);
  c.H = c.E = 3;
  TinyLm one(c, T, B), each(c, T, B);
  std::vector<StepFigures> expected;
  constexpr int kSteps = 2500;
  const auto chunk = [](int n) {
    return make_chunk(1 + n % T, 1 + n % B, 0,
                      [n](int64_t b, int64_t i) { return int32_t((n + b * 3 + i) % V); });
  };
  for (TinyLm* lm : {&one, &each})
    for (int n = 0; n < kSteps; ++n) {
      HostChunk now = chunk(n);
      const State state(lm->backend, lm->model->state_shape(), now.B, DType::f64);
      StepScalars scalars;
      scalars.update = {0.01, 0};
      scalars.weight = 1;
      if (n % 3 == 2)
        lm->scheduler->evaluate(now, state);
      else
        lm->scheduler->train(now, state, scalars);
      if (lm == &each)
        for (const StepFigures& f : lm->scheduler->take_figures()) expected.push_back(f);
    }
  const std::vector<StepFigures> got = one.scheduler->take_figures();
  ASSERT_EQ(got.size(), size_t(kSteps));
  ASSERT_EQ(expected.size(), size_t(kSteps));
  for (int n = 0; n < kSteps; ++n) {
    EXPECT_EQ(got[size_t(n)].nats, expected[size_t(n)].nats) << n;
    EXPECT_EQ(got[size_t(n)].tokens, (1 + n % T) * (1 + n % B)) << n;
    EXPECT_EQ(got[size_t(n)].norm2, expected[size_t(n)].norm2) << n;
    EXPECT_EQ(got[size_t(n)].norm2 > 0, n % 3 != 2) << n;
  }
  EXPECT_TRUE(one.scheduler->take_figures().empty());
}

}  // namespace
}  // namespace unroll::test
