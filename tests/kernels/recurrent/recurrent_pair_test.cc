// Two directions of a layer at once: each as alone, and in the persistent schedule one launch.
#include "kernels/base/error.h"
#include "kernels/base/launch_count.h"
#include "kernels/recurrent/persistent_cuda.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

class RecurrentPairTest : public RecurrentTest {
 protected:
  static oracle::Layer<double> layer_of(Cell cell, const RecurrentCase& c, const Target& t) {
    oracle::Layer<double> layer = random_layer(cell, c, t);
    if (c.reverse)  // not the weights and inputs of the other direction
      for (std::vector<double>* values : {&layer.R, &layer.Wx})
        for (double& v : *values) v = -v;
    return layer;
  }
};

TEST_P(RecurrentPairTest, EqualsTheOracleInOneLaunch) {
  RecurrentCase c = {3, 9, 21, false, true, true, true, 1};
  for (const Cell cell : {Cell::lstm, Cell::gru})
    for (const Schedule schedule : schedules(GetParam())) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << name_of(schedule));
      c.reverse = false;
      oracle::Layer<double> first = layer_of(cell, c, GetParam());
      c.reverse = true;
      oracle::Layer<double> second = layer_of(cell, c, GetParam());
      RecurrentArrays a(backend(), first, GetParam(), c.pad, schedule);
      RecurrentArrays b(backend(), second, GetParam(), c.pad, schedule);
      const auto dh = random_values(int64_t(c.T) * c.B * c.H, act(), 9);
      a.dh.fill(dh);
      b.dh.fill(dh);
      const auto launches = [&](const auto& pair) {
        const uint64_t before = gpu::launch_count();
        pair();
        return int(gpu::launch_count() - before);
      };
      const int forward =
          launches([&] { recurrent_forward_pair(exec(), a.forward_args(), b.forward_args()); });
      const int backward =
          launches([&] { recurrent_backward_pair(exec(), a.backward_args(), b.backward_args()); });
      synchronize();
      if (schedule == Schedule::persistent) {  // the filling of both exchanges, and both passes
        EXPECT_EQ(forward, 2);
        EXPECT_EQ(backward, 2);
      }
      for (auto* side : {&a, &b}) {
        oracle::Layer<double>& layer = side == &a ? first : second;
        layer.forward();
        const oracle::LayerGradient expected = oracle::gradient(layer, dh);
        expect_close(side->h.read(), layer.h, tolerance(GetParam()), "h");
        expect_close(side->dWx.read(), expected.dWx, tolerance(GetParam()), "dWx");
        EXPECT_TRUE(side->h.padding_untouched());
        EXPECT_TRUE(side->dWx.padding_untouched());
      }
    }
}

#if defined(UNROLL_WITH_CUDA)
// Where half of the device does not hold R and the whole does.
TEST_P(RecurrentPairTest, OneAfterTheOtherWhereBothDoNotFit) {
  if (GetParam().device != DeviceKind::cuda) return;
  Exec small = exec();
  small.sm_count = 2;
  RecurrentCase c = {2, 2, 16, false, false, true, true, 0};
  const auto fits = [&](int passes) {
    return cuda::persistent_obstacle(small, Cell::lstm, act(), c.B, c.H, passes).empty();
  };
  while (fits(2)) c.H += 16;
  ASSERT_TRUE(fits(1));
  const oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  RecurrentArrays a(backend(), layer, GetParam(), 0, Schedule::persistent);
  RecurrentArrays b(backend(), layer, GetParam(), 0, Schedule::persistent);
  const uint64_t before = gpu::launch_count();
  recurrent_forward_pair(small, a.forward_args(), b.forward_args());
  synchronize();
  EXPECT_EQ(gpu::launch_count() - before, 4u);
  EXPECT_EQ(a.h.bytes(), b.h.bytes());
}
#endif

TEST_P(RecurrentPairTest, TwoShapesAreAnError) {
  const RecurrentCase c = {2, 3, 5, false, false, true, true, 0},
                      d = {2, 3, 6, true, false, true, true, 0};
  const oracle::Layer<double> first = random_layer(Cell::tanh, c, GetParam()),
                              second = random_layer(Cell::tanh, d, GetParam());
  RecurrentArrays a(backend(), first, GetParam(), 0), b(backend(), second, GetParam(), 0);
  try {
    recurrent_forward_pair(exec(), a.forward_args(), b.forward_args());
    FAIL() << "no error";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "recurrent_forward_pair: h is [3,3,5] and [3,3,6], expected one cell, schedule, "
                 "shape and type for both");
  }
}

UNROLL_ON_TARGETS(RecurrentPairTest);

}  // namespace
}  // namespace unroll::test
