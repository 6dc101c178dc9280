// activation_penalty.h: the gradient against differences of the penalties themselves, padding.
#include "kernels/regularize/activation_penalty.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

struct Dims {
  int64_t T, B, D;
  int64_t size() const { return T * B * D; }
};
constexpr Dims kDims[] = {{1, 2, 5}, {2, 1, 1}, {5, 3, 13}, {7, 2, 36}};

// Exact gradient of a quadratic form by central differences with step 1.
std::vector<double> gradient_of(const Dims& s, double ar, double tar, const std::vector<double>& w,
                                std::vector<double> y) {
  const auto penalty = [&] {
    double values = 0, steps = 0;
    for (int64_t i = 0; i < s.size(); ++i) {
      const double weight = w[size_t(i / s.D)] / double(s.D);
      values += weight * y[size_t(i)] * y[size_t(i)];
      if (i < s.B * s.D) continue;
      const double change = y[size_t(i)] - y[size_t(i - s.B * s.D)];
      steps += weight * change * change;
    }
    return ar * values + (s.T > 1 ? tar * double(s.T) / double(s.T - 1) * steps : 0);
  };
  std::vector<double> gradient;
  for (double& v : y) {
    const double old = v;
    v = old + 1;
    const double up = penalty();
    v = old - 1;
    gradient.push_back((up - penalty()) / 2);
    v = old;
  }
  return gradient;
}

class ActivationPenaltyTest : public OnTargets {
 protected:
  std::vector<double> run(const Dims& s, double ar, double tar, const std::vector<double>& w,
                          const std::vector<double>& y, Accumulate to) {
    Array<3> values(backend(), act(), {s.T, s.B, s.D}, row_pad(s.D, 3));
    Array<3> dy(backend(), act(), {s.T, s.B, s.D}, row_pad(s.D, 1));
    Array<1> weight(backend(), acc(), {s.T * s.B});
    values.fill(y);
    weight.fill(w);
    if (to == Accumulate::add) dy.fill(0.5);
    activation_penalty_backward(
        exec(), {.dy = dy, .y = values, .weight = weight, .ar = ar, .tar = tar, .to_dy = to});
    synchronize();
    EXPECT_TRUE(dy.padding_untouched());
    return dy.read();
  }
};

TEST_P(ActivationPenaltyTest, EqualsDifferences) {
  for (const Dims& s : kDims)
    for (const auto& [ar, tar] : {std::pair(2.0, 0.0), {0.0, 1.0}, {0.7, 1.3}}) {
      auto w = random_values(s.T * s.B, acc(), 1);
      w.back() = 0;  // padding
      const auto y = random_values(s.size(), act(), 2);
      auto expected = gradient_of(s, ar, tar, w, y);
      expect_close(run(s, ar, tar, w, y, Accumulate::overwrite), expected,
                   std::max(tolerance(GetParam()), 1e-11), "dy");
      for (double& e : expected) e += 0.5;
      expect_close(run(s, ar, tar, w, y, Accumulate::add), expected,
                   std::max(tolerance(GetParam()), 1e-11), "dy added to");
    }
}

// With the shares of a mean over the chunk they are means over all elements.
TEST_P(ActivationPenaltyTest, MeansAreOverAllElements) {
  const Dims s = {4, 3, 5};
  const std::vector<double> w(12, 1.0 / 12);
  const auto y = random_values(s.size(), act(), 3);
  std::vector<double> expected(y.size(), 0);
  for (int64_t i = 0; i < s.size(); ++i) {
    expected[size_t(i)] += 2 * 2.0 / 60 * y[size_t(i)];
    if (i < 15) continue;
    const double change = 2 * 1.0 / 45 * (y[size_t(i)] - y[size_t(i - 15)]);
    expected[size_t(i)] += change;
    expected[size_t(i - 15)] -= change;
  }
  expect_close(run(s, 2, 1, w, y, Accumulate::overwrite), expected, tolerance(GetParam()), "dy");
}

TEST_P(ActivationPenaltyTest, RefusesBadArguments) {
  Array<3> y(backend(), act(), {3, 2, 4}), dy(backend(), act(), {3, 2, 5});
  Array<1> w(backend(), acc(), {6}), few(backend(), acc(), {5});
  EXPECT_THROW(activation_penalty_backward(exec(), {.dy = dy, .y = y, .weight = w, .ar = 1}),
               Error);
  EXPECT_THROW(activation_penalty_backward(exec(), {.dy = y, .y = y, .weight = few, .ar = 1}),
               Error);
  activation_penalty_backward(backend().measuring(), {});
}

UNROLL_ON_TARGETS(ActivationPenaltyTest);

}  // namespace
}  // namespace unroll::test
