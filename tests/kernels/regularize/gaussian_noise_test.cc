// gaussian_noise.h: the numbers of the header, their distribution, a key of its own for each.
#include "kernels/regularize/gaussian_noise.h"

#include <numbers>

#include "kernels/base/error.h"
#include "kernels/base/philox.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

constexpr uint64_t kSeed = 5, kStep = 11;

class GaussianNoiseTest : public OnTargets {
 protected:
  void run(const View2& y, const View2& x, double deviation, uint32_t op = 3) {
    Array<1> counter(backend(), DType::u64, {2});
    counter.fill({double(kSeed), double(kStep)});
    gaussian_noise(exec(),
                   {.y = y, .x = x, .deviation = deviation, .key = {.counter = counter, .op = op}});
    synchronize();
  }
};

// Number e of a whole stream of them.
double normal(int64_t e) {
  const Philox4 block = philox_block(kSeed, kStep, 3, uint64_t(e / 4));
  const uint32_t* pair = block.v + e % 4 / 2 * 2;
  const auto uniform = [](uint32_t bits) { return (double(bits >> 8) + 1) / 16777216.0; };
  const double radius = std::sqrt(-2 * std::log(uniform(pair[0])));
  const double angle = 2 * std::numbers::pi * uniform(pair[1]);
  return radius * (e % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

TEST_P(GaussianNoiseTest, NumbersAreThoseOfTheHeader) {
  for (int64_t D : {1, 13, 36, 65}) {
    const int64_t N = 41;
    const auto values = random_values(N * D, act(), 2);
    std::vector<double> expected = values;
    for (int64_t e = 0; e < N * D; ++e) expected[size_t(e)] += 0.15 * normal(e);
    Array<2> x(backend(), act(), {N, D}, row_pad(D, 3)), y(backend(), act(), {N, D}, row_pad(D, 1));
    x.fill(values);
    run(y, x, 0.15);
    expect_close(y.read(), expected, tolerance(GetParam()), "y");
    EXPECT_TRUE(y.padding_untouched());
    run(x, x, 0.15);
    EXPECT_EQ(x.read(), y.read()) << "in place";
    run(y, y, 0);
    EXPECT_EQ(x.read(), y.read()) << "no deviation";
  }
}

TEST_P(GaussianNoiseTest, IsNormal) {
  const int64_t N = 101, D = 199;
  Array<2> x(backend(), act(), {N, D}), other(backend(), act(), {N, D});
  x.fill(0.0);
  other.fill(0.0);
  run(x, x, 1);
  run(other, other, 1, 4);
  const std::vector<double> a = x.read(), b = other.read();
  const double n = double(N * D);
  double sum = 0, squares = 0, fourth = 0, together = 0, neighbours = 0;
  for (size_t e = 0; e < a.size(); ++e) {
    sum += a[e];
    squares += a[e] * a[e];
    fourth += std::pow(a[e], 4);
    together += a[e] * b[e];
    if (e > 0) neighbours += a[e] * a[e - 1];
  }
  EXPECT_NEAR(sum / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(squares / n, 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(fourth / n, 3, 5 * std::sqrt(96 / n));
  EXPECT_NEAR(together / n, 0, 5 / std::sqrt(n));
  EXPECT_NEAR(neighbours / n, 0, 5 / std::sqrt(n));
}

TEST_P(GaussianNoiseTest, RefusesBadArguments) {
  Array<2> x(backend(), act(), {3, 4}), y(backend(), act(), {3, 5});
  EXPECT_THROW(run(y, x, 0.5), Error);
  EXPECT_THROW(run(x, x, -0.5), Error);
  gaussian_noise(backend().measuring(), {});
}

UNROLL_ON_TARGETS(GaussianNoiseTest);

}  // namespace
}  // namespace unroll::test
