// carry_state.h: copies, zeroes the lanes that start anew, in place too.
#include "kernels/recurrent/carry_state.h"

#include "kernels/base/error.h"
#include "tests/harness/devices.h"

namespace unroll::test {
namespace {

using CarryStateTest = OnTargets;

TEST_P(CarryStateTest, KeepsAndResetsLanes) {
  struct Dims {
    int64_t B, H;
  };
  for (const Dims& d : {Dims{1, 1}, Dims{5, 13}, Dims{3, 40}})
    for (bool with_keep : {false, true}) {
      const auto values = random_values(d.B * d.H, act(), 1);
      Array<2> x(backend(), act(), {d.B, d.H}, 3), y(backend(), act(), {d.B, d.H}, 1);
      Array<1> keep(backend(), DType::i32, {d.B});
      x.fill(values);
      std::vector<double> keeps, expected = values;
      for (int64_t b = 0; b < d.B; ++b) keeps.push_back(double(b % 2));
      keep.fill(keeps);
      if (with_keep)
        for (int64_t i = 0; i < d.B * d.H; ++i)
          if (keeps[size_t(i / d.H)] == 0) expected[size_t(i)] = 0;
      const View1 given = with_keep ? keep.view : View1{};
      carry_state(exec(), {.y = y, .x = x, .keep = given});
      synchronize();
      EXPECT_EQ(y.read(), expected);
      EXPECT_TRUE(y.padding_untouched());
      carry_state(exec(), {.y = x, .x = x, .keep = given});
      synchronize();
      EXPECT_EQ(x.read(), expected) << "in place";
    }
}

TEST_P(CarryStateTest, ResetForgetsNan) {
  Array<2> x(backend(), act(), {2, 3}), y(backend(), act(), {2, 3});
  Array<1> keep(backend(), DType::i32, {2});
  keep.fill(0);
  carry_state(exec(), {.y = y, .x = x, .keep = keep});  // x is all NaN
  synchronize();
  EXPECT_EQ(y.read(), std::vector<double>(6, 0));
}

TEST_P(CarryStateTest, ShapesThatDoNotFitAreErrors) {
  Array<2> x(backend(), act(), {2, 3}), y(backend(), act(), {2, 4});
  EXPECT_THROW(carry_state(exec(), {.y = y, .x = x}), Error);
}

UNROLL_ON_TARGETS(CarryStateTest);

}  // namespace
}  // namespace unroll::test
