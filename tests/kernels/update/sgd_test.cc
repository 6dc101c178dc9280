// sgd.h: several steps against the formula in double, clipping, decay, gradients that are not
// finite.
#include "kernels/update/sgd.h"

#include "kernels/base/error.h"
#include "tests/kernels/update/update_case.h"

namespace unroll::test {
namespace {

using SgdTest = OnTargets;

TEST_P(SgdTest, FiveStepsEqualTheFormula) {
  for (const UpdateCase& c : kUpdateCases)
    for (int64_t n : kUpdateLengths) {
      auto expected = random_values(n, acc(), 1);
      Array<1> theta(backend(), acc(), {n}, 8), g(backend(), acc(), {n}),
          norm2(backend(), DType::f64, {1}), inputs(backend(), DType::f64, {kUpdateInputs});
      theta.fill(expected);
      for (unsigned step = 1; step <= 5; ++step) {
        const auto g_values = random_values(n, acc(), 10 + step, 2);
        const double lr = c.lr / step;
        g.fill(g_values);
        norm2.fill(sum_of_squares(g_values));
        inputs.fill({lr, c.clip, double(step)});
        sgd(exec(), {.theta = theta, .g = g, .norm2 = norm2, .inputs = inputs, .decay = c.decay});
        synchronize();
        const double factor = clip_oracle(c.clip, g_values);
        for (size_t i = 0; i < expected.size(); ++i)
          expected[i] -= lr * (factor * g_values[i] + c.decay * expected[i]);
        expect_close(theta.read(), expected, acc() == DType::f64 ? 1e-13 : 5e-6, "theta");
      }
      EXPECT_TRUE(theta.padding_untouched());
    }
}

TEST_P(SgdTest, NonFiniteNormChangesNothing) {
  Array<1> theta(backend(), acc(), {33}), g(backend(), acc(), {33}),
      norm2(backend(), DType::f64, {1}), inputs(backend(), DType::f64, {kUpdateInputs});
  theta.fill(random_values(33, acc(), 2));
  g.fill(1.0);
  const auto before = theta.bytes();
  for (double bad : {NAN, INFINITY})
    for (double clip : {0.0, 1.0}) {
      norm2.fill(bad);
      inputs.fill({0.5, clip, 1});
      sgd(exec(), {.theta = theta, .g = g, .norm2 = norm2, .inputs = inputs, .decay = 0.1});
      synchronize();
      EXPECT_EQ(theta.bytes(), before);
    }
}

TEST_P(SgdTest, AnyThreadCountIsBitEqual) {
  std::vector<unsigned char> first;
  for (int threads : {1, 2, 3}) {
    Exec e = exec();
    e.threads = threads;
    Array<1> theta(backend(), acc(), {1001}), g(backend(), acc(), {1001}),
        norm2(backend(), DType::f64, {1}), inputs(backend(), DType::f64, {kUpdateInputs});
    theta.fill(random_values(1001, acc(), 3));
    g.fill(random_values(1001, acc(), 4));
    norm2.fill(333);
    inputs.fill({0.5, 3, 1});
    sgd(e, {.theta = theta, .g = g, .norm2 = norm2, .inputs = inputs, .decay = 0.1});
    synchronize();
    if (first.empty()) first = theta.bytes();
    EXPECT_EQ(theta.bytes(), first);
  }
}

TEST_P(SgdTest, RefusesBadShapes) {
  Array<1> theta(backend(), acc(), {33}), g(backend(), acc(), {32}),
      norm2(backend(), DType::f64, {1}), inputs(backend(), DType::f64, {kUpdateInputs});
  EXPECT_THROW(sgd(exec(), {.theta = theta, .g = g, .norm2 = norm2, .inputs = inputs}), Error);
  sgd(backend().measuring(), {});
}

UNROLL_ON_TARGETS(SgdTest);

}  // namespace
}  // namespace unroll::test
