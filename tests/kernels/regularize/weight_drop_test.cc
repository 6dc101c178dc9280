// weight_drop.h: the bits, the masked copy, the gradient with the same bits, accumulation.
#include "kernels/regularize/weight_drop.h"

#include "kernels/base/error.h"
#include "kernels/base/philox.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

struct Dims {
  int64_t N, D;
  int64_t size() const { return N * D; }
};
constexpr Dims kDims[] = {{1, 1}, {7, 13}, {20, 5}, {12, 33}, {5, 64}, {9, 300}};
constexpr uint64_t kSeed = 77, kStep = 1000003;
constexpr uint32_t kOp = 5;

// What the header promises, element by element: 1 where kept.
std::vector<double> kept_of(const Dims& dims, double p) {
  std::vector<double> kept;
  for (int64_t r = 0; r < dims.N; ++r)
    for (int64_t c = 0; c < dims.D; ++c) {
      const Philox4 words =
          philox_block(kSeed, kStep, kOp, uint64_t(r * ((dims.D + 3) / 4) + c / 4));
      kept.push_back(words.v[c % 4] >= uint32_t(std::llround(p * 4294967296.0)));
    }
  return kept;
}

class WeightDropTest : public OnTargets {
 protected:
  void forward(const Exec& exec, const View2& y, const View2& bits, const View2& x, double p) {
    Array<1> counter(backend(), DType::u64, {2});
    counter.fill({double(kSeed), double(kStep)});
    weight_drop_forward(
        exec, {.y = y, .bits = bits, .x = x, .p = p, .key = {.counter = counter, .op = kOp}});
    synchronize();
  }
};

TEST_P(WeightDropTest, BitsCopyAndGradientAreThoseOfTheHeader) {
  for (const Dims& dims : kDims)
    for (double p : {0.0, 0.25, 0.5}) {
      const auto values = random_values(dims.size(), acc(), 1), kept = kept_of(dims, p);
      Array<2> x(backend(), acc(), {dims.N, dims.D}, row_pad(dims.D, 3));
      Array<2> y(backend(), act(), {dims.N, dims.D}, row_pad(dims.D, 5));
      Array<2> bits(backend(), DType::u32, {dims.N, weight_drop_words(dims.D)}, 1);
      x.fill(values);
      const auto before = x.bytes();
      forward(exec(), y, bits, x, p);
      std::vector<double> expected = values, words(size_t(dims.N * weight_drop_words(dims.D)), 0);
      for (int64_t i = 0; i < dims.size(); ++i) {
        expected[size_t(i)] *= kept[size_t(i)] / (1 - p);
        const int64_t r = i / dims.D, c = i % dims.D;
        words[size_t(r * weight_drop_words(dims.D) + c / 32)] +=
            kept[size_t(i)] * double(uint32_t(1) << (c % 32));
      }
      expect_close(y.read(), expected, tolerance(GetParam()), "y");
      EXPECT_EQ(bits.read(), words);
      EXPECT_EQ(x.bytes(), before) << "the matrix itself was written";
      EXPECT_TRUE(y.padding_untouched() && bits.padding_untouched());
      Array<2> alone(backend(), DType::u32, {dims.N, weight_drop_words(dims.D)}, 1);
      forward(exec(), {}, alone, x, p);
      EXPECT_EQ(alone.bytes(), bits.bytes()) << "without a copy";

      const auto dy_values = random_values(dims.size(), acc(), 2);
      Array<2> dy(backend(), acc(), {dims.N, dims.D}, 1), dx(backend(), acc(), {dims.N, dims.D}, 2);
      dy.fill(dy_values);
      WeightDropBackward back{.dx = dx, .dy = dy, .bits = bits, .p = p};
      weight_drop_backward(exec(), back);
      synchronize();
      std::vector<double> once = dy_values, twice = dy_values;
      for (size_t i = 0; i < once.size(); ++i) {
        once[i] *= kept[i] / (1 - p);
        twice[i] = 2 * once[i];
      }
      expect_close(dx.read(), once, 1e-6, "dx");
      back.to_dx = Accumulate::add;
      weight_drop_backward(exec(), back);
      synchronize();
      expect_close(dx.read(), twice, 1e-6, "dx added to dx");
      back = {.dx = dy, .dy = dy, .bits = bits, .p = p};
      weight_drop_backward(exec(), back);
      synchronize();
      expect_close(dy.read(), once, 1e-6, "dx in place");
      EXPECT_TRUE(dx.padding_untouched() && dy.padding_untouched());
    }
}

TEST_P(WeightDropTest, KeepsTheRightFractionInEveryColumnOfAWord) {
  const Dims dims = {300, 96};
  Array<2> x(backend(), acc(), {dims.N, dims.D}), y(backend(), act(), {dims.N, dims.D});
  Array<2> bits(backend(), DType::u32, {dims.N, 3});
  x.fill(1.0);
  forward(exec(), y, bits, x, 0.3);
  const auto values = y.read();
  double kept = 0;
  std::vector<double> by_column(size_t(dims.D), 0);
  for (int64_t i = 0; i < dims.size(); ++i) {
    kept += values[size_t(i)] != 0;
    by_column[size_t(i % dims.D)] += values[size_t(i)] != 0;
  }
  // Five standard deviations of the binomial.
  EXPECT_NEAR(kept / double(dims.size()), 0.7, 5 * std::sqrt(0.21 / double(dims.size())));
  for (double k : by_column) EXPECT_NEAR(k / double(dims.N), 0.7, 5 * std::sqrt(0.21 / 300));
}

TEST_P(WeightDropTest, RefusesBadArguments) {
  Array<2> x(backend(), acc(), {3, 40}), y(backend(), act(), {3, 40});
  Array<2> bits(backend(), DType::u32, {3, 2}), few(backend(), DType::u32, {3, 1});
  EXPECT_THROW(forward(exec(), y, few, x, 0.5), Error);
  EXPECT_THROW(forward(exec(), y, bits, x, 1.0), Error);
  EXPECT_THROW(weight_drop_backward(exec(), {.dx = x, .dy = x, .bits = few, .p = 0.5}), Error);
  weight_drop_forward(backend().measuring(), {});
  weight_drop_backward(backend().measuring(), {});
}

UNROLL_ON_TARGETS(WeightDropTest);

}  // namespace
}  // namespace unroll::test
