// dynamic_update.h: several steps against the formula in double, the bound of the decay, weights
// without gradients, sums of squares.
#include "kernels/update/dynamic_update.h"

#include "kernels/base/error.h"
#include "tests/kernels/update/update_case.h"

namespace unroll::test {
namespace {

using DynamicUpdateTest = OnTargets;

TEST_P(DynamicUpdateTest, FiveStepsEqualTheFormula) {
  constexpr double lr = 0.02, decay = 1.3, eps = 0.01;  // decay * rms goes beyond 1 for some
  for (int64_t n : kUpdateLengths)
    for (int64_t shift : {0, 1}) {  // rows that start on 16 bytes, and that do not
      const auto trained = random_values(n, acc(), 1);
      auto expected = random_values(n, acc(), 2), rms_values = random_values(n, acc(), 3);
      for (double& r : rms_values) r = std::abs(r);
      rms_values[size_t(n) / 2] = 0;
      Array<1> theta(backend(), acc(), {n}, 8), theta_0(backend(), acc(), {n}),
          rms(backend(), acc(), {n + 1}), g(backend(), acc(), {n});
      theta.fill(expected);
      theta_0.fill(trained);
      std::vector<double> shifted(size_t(shift), 7);
      shifted.insert(shifted.end(), rms_values.begin(), rms_values.end());
      shifted.resize(size_t(n) + 1, 7);
      rms.fill(shifted);
      for (unsigned step = 1; step <= 5; ++step) {
        const auto g_values = random_values(n, acc(), 10 + step, 2);
        g.fill(g_values);
        dynamic_update(exec(), {.theta = theta,
                                .theta_0 = theta_0,
                                .g = g,
                                .rms = rms.view.slice(shift, n),
                                .lr = lr,
                                .decay = decay,
                                .eps = eps});
        synchronize();
        for (size_t i = 0; i < expected.size(); ++i) {
          const double r = rms_values[i], back = std::min(1.0, decay * r);
          expected[i] =
              expected[i] - lr * g_values[i] / (r + eps) + back * (trained[i] - expected[i]);
        }
        expect_close(theta.read(), expected, acc() == DType::f64 ? 1e-13 : 5e-6, "theta");
      }
      EXPECT_TRUE(theta.padding_untouched());
    }
}

TEST_P(DynamicUpdateTest, AWeightWithoutAnyGradientStays) {
  Array<1> theta(backend(), acc(), {33}), zero(backend(), acc(), {33});
  theta.fill(random_values(33, acc(), 4));
  zero.fill(0.0);
  const auto before = theta.bytes();
  dynamic_update(
      exec(),
      {.theta = theta, .theta_0 = zero, .g = zero, .rms = zero, .lr = 1, .decay = 1, .eps = 1e-5});
  synchronize();
  EXPECT_EQ(theta.bytes(), before);
}

TEST_P(DynamicUpdateTest, SquaresAddUp) {
  for (int64_t n : kUpdateLengths) {
    Array<1> sum(backend(), acc(), {n}, 8), g(backend(), acc(), {n});
    std::vector<double> expected(size_t(n), 0.5);
    sum.fill(0.5);
    for (unsigned step = 0; step < 3; ++step) {
      const auto g_values = random_values(n, acc(), 20 + step, 2);
      g.fill(g_values);
      accumulate_squares(exec(), {.sum = sum, .g = g});
      synchronize();
      for (size_t i = 0; i < expected.size(); ++i) expected[i] += g_values[i] * g_values[i];
    }
    expect_close(sum.read(), expected, acc() == DType::f64 ? 1e-14 : 1e-6, "sum");
    EXPECT_TRUE(sum.padding_untouched());
  }
}

TEST_P(DynamicUpdateTest, RefusesBadArguments) {
  Array<1> a(backend(), acc(), {33}), b(backend(), acc(), {32});
  EXPECT_THROW(accumulate_squares(exec(), {.sum = a, .g = b}), Error);
  EXPECT_THROW(dynamic_update(exec(), {.theta = a, .theta_0 = a, .g = a, .rms = b, .eps = 1}),
               Error);
  EXPECT_THROW(dynamic_update(exec(), {.theta = a, .theta_0 = a, .g = a, .rms = a}), Error);
  accumulate_squares(backend().measuring(), {});
  dynamic_update(backend().measuring(), {});
}

UNROLL_ON_TARGETS(DynamicUpdateTest);

}  // namespace
}  // namespace unroll::test
