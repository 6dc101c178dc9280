// add.h: scaled copies and sums between element types.
#include "kernels/elementwise/add.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

struct Dims {
  int64_t N, D;
};
constexpr Dims kDims[] = {{1, 1}, {1, 1001}, {7, 13}, {33, 36}};

using AddTest = OnTargets;

TEST_P(AddTest, EveryPairOfTypes) {
  const std::vector<DType> types = act() == DType::f64
                                       ? std::vector<DType>{DType::f64}
                                       : std::vector<DType>{DType::f32, DType::bf16};
  for (const Dims& dims : kDims)
    for (DType to : types)
      for (DType from : types)
        for (Accumulate mode : {Accumulate::overwrite, Accumulate::add}) {
          const auto x_values = random_values(dims.N * dims.D, from, 1);
          const auto y_values = random_values(dims.N * dims.D, to, 2);
          Array<2> x(backend(), from, {dims.N, dims.D}, row_pad(dims.D, 3)),
              y(backend(), to, {dims.N, dims.D}, row_pad(dims.D, 5));
          x.fill(x_values);
          if (mode == Accumulate::add) y.fill(y_values);
          add_scaled(exec(), {.y = y, .x = x, .a = 0.375, .to_y = mode});
          synchronize();
          // 0.375 x and its sum with y are exact in f32 up to one rounding, so bf16 results are the
          // exact value rounded once or, at a tie, its neighbour.
          std::vector<double> expected;
          for (size_t i = 0; i < x_values.size(); ++i)
            expected.push_back(0.375 * x_values[i] + (mode == Accumulate::add ? y_values[i] : 0));
          const double tolerance = to == DType::bf16 ? 4e-3 : to == DType::f32 ? 1e-7 : 1e-15;
          expect_close(y.read(), expected, tolerance,
                       std::string(name_of(from)) + " to " + name_of(to));
          EXPECT_TRUE(y.padding_untouched());
        }
}

TEST_P(AddTest, ConvertingCopyIsRoundedToNearest) {
  if (act() == DType::f64) return;
  const auto values = random_values(7 * 13, DType::f32, 3);
  Array<2> x(backend(), DType::f32, {7, 13}), y(backend(), DType::bf16, {7, 13});
  x.fill(values);
  add_scaled(exec(), {.y = y, .x = x});
  synchronize();
  std::vector<double> expected;
  for (double v : values) expected.push_back(rounded(v, DType::bf16));
  EXPECT_EQ(y.read(), expected);
}

TEST_P(AddTest, RefusesBadArguments) {
  Array<2> x(backend(), DType::f32, {7, 13}), y(backend(), DType::f32, {7, 12}),
      z(backend(), DType::f64, {7, 13});
  EXPECT_THROW(add_scaled(exec(), {.y = y, .x = x}), Error);
  EXPECT_THROW(add_scaled(exec(), {.y = z, .x = x}), Error);
  add_scaled(backend().measuring(), {});
}

UNROLL_ON_TARGETS(AddTest);

}  // namespace
}  // namespace unroll::test
