// recurrent_forward against the layer oracle.
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

using RecurrentForwardTest = RecurrentTest;

TEST_P(RecurrentForwardTest, EqualsOracle) {
  for_all([&](Cell cell, const RecurrentCase& c, Schedule schedule) {
    oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    RecurrentArrays arrays(backend(), layer, GetParam(), c.pad, schedule);
    recurrent_forward(exec(), arrays.forward_args());
    synchronize();
    layer.forward();
    expect_close(arrays.h.read(), layer.h, tolerance(GetParam()), "h");
    if (arrays.two_states) expect_close(arrays.c.read(), layer.c, tolerance(GetParam()), "c");
    EXPECT_TRUE(arrays.h.padding_untouched());
    EXPECT_TRUE(arrays.c.padding_untouched());
    EXPECT_TRUE(arrays.saved.padding_untouched());
  });
}

TEST_P(RecurrentForwardTest, WithoutSavedTheSameStates) {
  for_large([&](Cell cell, const RecurrentCase& c, Schedule schedule) {
    oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    RecurrentArrays arrays(backend(), layer, GetParam(), c.pad, schedule);
    recurrent_forward(exec(), arrays.forward_args(/*save=*/false));
    synchronize();
    layer.forward();
    expect_close(arrays.h.read(), layer.h, tolerance(GetParam()), "h");
    for (unsigned char byte : arrays.saved.bytes()) ASSERT_EQ(byte, 0xff) << "saved was written";
  });
}

TEST_P(RecurrentForwardTest, TwoRunsAreBitEqual) {
  for_large([&](Cell cell, const RecurrentCase& c, Schedule schedule) {
    const oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    RecurrentArrays one(backend(), layer, GetParam(), c.pad, schedule),
        two(backend(), layer, GetParam(), c.pad, schedule);
    recurrent_forward(exec(), one.forward_args());
    recurrent_forward(exec(), two.forward_args());
    synchronize();
    EXPECT_EQ(one.h.bytes(), two.h.bytes());
    EXPECT_EQ(one.c.bytes(), two.c.bytes());
    EXPECT_EQ(one.saved.bytes(), two.saved.bytes());
  });
}

// A chunk of T steps equals two chunks with the state carried between them.
TEST_P(RecurrentForwardTest, StateIsCarried) {
  for (const Schedule schedule : schedules(GetParam()))
    for (Cell cell : oracle::kAllCells) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << name_of(schedule));
      const RecurrentCase c = {6, 3, 21, false, false, true, true, 0};
      oracle::Layer<double> whole = random_layer(cell, c, GetParam());
      RecurrentArrays arrays(backend(), whole, GetParam(), c.pad, schedule);
      RecurrentForward first = arrays.forward_args(), second = first;
      const int T_1 = 2, T_2 = 4;
      first.h = first.h.slice(0, T_1 + 1);
      first.Wx = first.Wx.slice(0, T_1);
      second.h = second.h.slice(T_1, T_2 + 1);
      second.Wx = second.Wx.slice(T_1, T_2);
      if (arrays.two_states) {
        first.c = first.c.slice(0, T_1 + 1);
        second.c = second.c.slice(T_1, T_2 + 1);
      }
      if (arrays.SH > 0) {
        first.saved = first.saved.slice(0, T_1);
        second.saved = second.saved.slice(T_1, T_2);
      }
      recurrent_forward(exec(), first);
      recurrent_forward(exec(), second);
      synchronize();
      whole.forward();
      expect_close(arrays.h.read(), whole.h, tolerance(GetParam()), "h");
    }
}

UNROLL_ON_TARGETS(RecurrentForwardTest);

}  // namespace
}  // namespace unroll::test
