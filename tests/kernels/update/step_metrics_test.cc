// step_metrics.h: what a record holds, and the ring.
#include "kernels/update/step_metrics.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using StepMetricsTest = OnTargets;

TEST_P(StepMetricsTest, RingHoldsTheLatestSteps) {
  for (int64_t N : {1, 7, 33, 1001}) {
    constexpr int64_t kRecords = 3;
    Array<2> ring(backend(), DType::f64, {kRecords, kStepMetrics}, 1);
    Array<1> slot(backend(), DType::u64, {1}), loss(backend(), acc(), {N}),
        target(backend(), DType::i32, {N}), norm2(backend(), DType::f64, {1});
    slot.fill(5.0);  // as after a resume: the ring starts anywhere
    std::vector<double> expected(kRecords * kStepMetrics);
    for (unsigned step = 5; step < 12; ++step) {
      auto loss_values = random_values(N, acc(), step, 10);
      auto target_values = random_ids(N, 37, 100 + step);
      double sum = 0, tokens = 0;
      for (size_t n = 0; n < loss_values.size(); ++n) {
        if (n % 5 == 3) {
          target_values[n] = -1;
          loss_values[n] = 1000;
        } else {
          sum += loss_values[n];
          ++tokens;
        }
      }
      loss.fill(loss_values);
      target.fill(target_values);
      norm2.fill(step * 0.5);
      const bool with_norm = step != 11;
      step_metrics(exec(), {.ring = ring,
                            .slot = slot,
                            .loss = loss,
                            .target = target,
                            .norm2 = with_norm ? norm2.view : View1{}});
      synchronize();
      const size_t at = (step % kRecords) * kStepMetrics;
      const double record[] = {double(step), sum, tokens, with_norm ? step * 0.5 : 0};
      std::copy(record, record + kStepMetrics, expected.begin() + ptrdiff_t(at));
    }
    EXPECT_EQ(slot.read()[0], 12);
    const auto got = ring.read();
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_NEAR(got[i], expected[i], 1e-12 * (1 + std::abs(expected[i]))) << i << ", N = " << N;
    EXPECT_TRUE(ring.padding_untouched());
  }
}

TEST_P(StepMetricsTest, SumIsTakenInDouble) {
  // In f32 the ones would be lost beside 2^25.
  const int64_t N = 1001;
  std::vector<double> values(size_t(N), 1);
  values[0] = 33554432;
  Array<2> ring(backend(), DType::f64, {1, kStepMetrics});
  Array<1> slot(backend(), DType::u64, {1}), loss(backend(), acc(), {N}),
      target(backend(), DType::i32, {N});
  slot.fill(0.0);
  loss.fill(values);
  target.fill(1.0);
  step_metrics(exec(), {.ring = ring, .slot = slot, .loss = loss, .target = target});
  synchronize();
  EXPECT_EQ(ring.read()[1], 33554432.0 + 1000);
}

TEST_P(StepMetricsTest, UndefinedLossIsRecordedAsSuch) {
  Array<2> ring(backend(), DType::f64, {2, kStepMetrics});
  Array<1> slot(backend(), DType::u64, {1}), loss(backend(), acc(), {7}),
      target(backend(), DType::i32, {7});
  slot.fill(0.0);
  loss.fill({1, 2, NAN, 4, 5, 6, 7});
  target.fill(1.0);
  step_metrics(exec(), {.ring = ring, .slot = slot, .loss = loss, .target = target});
  synchronize();
  EXPECT_TRUE(std::isnan(ring.read()[1]));
}

TEST_P(StepMetricsTest, RefusesBadShapes) {
  Array<2> ring(backend(), DType::f64, {2, 3});
  Array<1> slot(backend(), DType::u64, {1}), loss(backend(), acc(), {7}),
      target(backend(), DType::i32, {7});
  EXPECT_THROW(step_metrics(exec(), {.ring = ring, .slot = slot, .loss = loss, .target = target}),
               Error);
  step_metrics(backend().measuring(), {});
}

UNROLL_ON_TARGETS(StepMetricsTest);

}  // namespace
}  // namespace unroll::test
