// Which schedule runs: the one asked for or an error, never another; and what the planner predicts.
#include "kernels/recurrent/schedule.h"

#include <cmath>

#include "kernels/base/error.h"
#include "kernels/base/launch_count.h"
#include "kernels/recurrent/planner.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

template <class F>
std::string usage_error(const F& f) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::usage) << e.what();
    return e.what();
  }
  return "no error";
}

TEST(Schedule, NamesAreThoseOfTheFlag) {
  for (const char* name : {"auto", "persistent", "step", "alternating"})
    EXPECT_STREQ(name_of(schedule_of(name)), name);
  EXPECT_EQ(usage_error([] { schedule_of("fused"); }),
            "unknown schedule \"fused\"; known: auto, persistent, step, alternating");
}

using ScheduleTest = RecurrentTest;

// Kernels launched by one pass; products of the library are not counted.
TEST_P(ScheduleTest, TheOneAskedForRuns) {
  if (GetParam().device == DeviceKind::cpu) {
    const std::string why =
        usage_error([&] { choose_schedule(exec(), Schedule::step, Cell::lstm, act(), 2, 3, 5); });
    EXPECT_EQ(why,
              "schedule \"step\" is one of a GPU's, and the layer runs on the CPU, which has one "
              "loop; use --schedule auto");
    return;
  }
  const int T = 9;
  const RecurrentCase c = {T, 3, 24, false, true, true, true, 0};
  const oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  for (const Schedule schedule : schedules(GetParam())) {
    SCOPED_TRACE(name_of(schedule));
    RecurrentArrays arrays(backend(), layer, GetParam(), 0, schedule);
    arrays.dh.fill(0.5);
    const auto launches = [&](const auto& pass) {
      const uint64_t before = gpu::launch_count();
      pass();
      return int(gpu::launch_count() - before);
    };
    const int forward = launches([&] { recurrent_forward(exec(), arrays.forward_args()); });
    const int backward = launches([&] { recurrent_backward(exec(), arrays.backward_args()); });
    synchronize();
    if (schedule == Schedule::alternating) {
      EXPECT_EQ(forward, T);
      EXPECT_EQ(backward, T);
    } else if (schedule == Schedule::step) {
      EXPECT_EQ(forward, T + 2);  // and the two copies of its operands
      EXPECT_EQ(backward, T + 2);
    } else {
      EXPECT_LT(forward, 4);
      EXPECT_LT(backward, 4);
    }
  }
}

TEST_P(ScheduleTest, WhatCannotRunIsAnError) {
  if (GetParam().device == DeviceKind::cpu) return;
  // R of this width is larger than all registers and shared memory of any device.
  const int64_t H = 40000;
  const std::string why = usage_error(
      [&] { choose_schedule(exec(), Schedule::persistent, Cell::lstm, act(), 2, 3, H); });
  EXPECT_EQ(why.find("schedule \"persistent\" cannot run lstm with T 2, B 3, H 40000 in " +
                     std::string(unroll::name_of(act()))),
            0u)
      << why;
  EXPECT_NE(why.find("use --schedule auto"), std::string::npos) << why;
  // Of its own accord the layer takes another one, and says why.
  const ScheduleChoice choice =
      choose_schedule(exec(), Schedule::automatic, Cell::lstm, act(), 2, 3, H);
  EXPECT_TRUE(choice.schedule == Schedule::step || choice.schedule == Schedule::alternating);
  EXPECT_NE(choice.reason.find("persistent cannot run: "), std::string::npos) << choice.reason;
}

TEST_P(ScheduleTest, ThePassesThrowInsteadOfRunningAnother) {
  const RecurrentCase c = {2, 3, 5, false, false, true, true, 0};
  const oracle::Layer<double> layer = random_layer(Cell::tanh, c, GetParam());
  // The CPU has no schedule; every CUDA target has them all.
  if (GetParam().device == DeviceKind::cuda) return;
  RecurrentArrays arrays(backend(), layer, GetParam(), 0, Schedule::persistent);
  EXPECT_NE(usage_error([&] { recurrent_forward(exec(), arrays.forward_args()); }), "no error");
  EXPECT_NE(usage_error([&] { recurrent_backward(exec(), arrays.backward_args()); }), "no error");
  synchronize();
  for (unsigned char byte : arrays.dWx.bytes()) ASSERT_EQ(byte, 0xff);
}

UNROLL_ON_TARGETS(ScheduleTest);

// Estimates for an H200 without early starts: R streamed from L2, and 1.4 us to follow on the step
// before. With B = 20 and 32 they are the kernel's; it reads R once for every 32 lanes, so that
// more lanes cost it more.
TEST(Planner, FusedStepAgreesWithTheRooflineOfItsTraffic) {
  DeviceFigures h200;
  h200.early_start = false;
  struct Row {
    int64_t B, T, H;
    double us;
  };
  for (const Row& r : {Row{20, 70, 1150, 3.3}, Row{20, 35, 650, 2.0}, Row{20, 35, 1500, 4.7},
                       Row{32, 512, 512, 1.8}}) {
    const RecurrentShape shape = {Cell::lstm, DType::bf16, MatmulMode::f32, r.T, r.B, r.H};
    const double us = predict(Schedule::step, shape, h200).forward;
    EXPECT_LT(us, 1.5 * r.us) << r.H;
    EXPECT_GT(us, r.us / 1.5) << r.H;
  }
  for (const Row& r : {Row{64, 128, 1024, 2.9}, Row{128, 256, 2048, 8.3}}) {
    const RecurrentShape shape = {Cell::lstm, DType::bf16, MatmulMode::f32, r.T, r.B, r.H};
    EXPECT_GT(predict(Schedule::step, shape, h200).forward, r.us / 1.5) << r.H;
  }
}

TEST(Planner, OrdersTheSchedules) {
  const auto us = [](Schedule s, int64_t B, int64_t H, DType act = DType::bf16) {
    return predict(s, {Cell::lstm, act, MatmulMode::f32, 70, B, H}, {}).both();
  };
  // Few lanes: one kernel per step instead of two; R on chip where it fits.
  EXPECT_LT(us(Schedule::step, 20, 1150), us(Schedule::alternating, 20, 1150));
  EXPECT_LT(us(Schedule::persistent, 20, 1150), us(Schedule::step, 20, 1150));
  // Many lanes: the library's tiles read R once.
  EXPECT_LT(us(Schedule::alternating, 256, 2048), us(Schedule::step, 256, 2048));
  EXPECT_TRUE(std::isinf(us(Schedule::persistent, 20, 40000)));
  // Three products on twice the bytes.
  EXPECT_GT(us(Schedule::persistent, 20, 650, DType::f32), us(Schedule::persistent, 20, 650));
  EXPECT_LT(us(Schedule::persistent, 20, 650, DType::f32), us(Schedule::step, 20, 650, DType::f32));
  // A step never gets cheaper with more units or lanes.
  for (const Schedule s : {Schedule::step, Schedule::alternating}) {
    EXPECT_LE(us(s, 20, 640), us(s, 20, 656));
    EXPECT_LE(us(s, 32, 656), us(s, 33, 656));
  }
  // Layer normalisation costs every schedule something, the fused step least where lanes are few,
  // and the persistent one everything.
  const auto normed_us = [](Schedule s, int64_t B, int64_t H) {
    return predict(s, {Cell::lstm, DType::bf16, MatmulMode::f32, 70, B, H, true}, {}).both();
  };
  for (const Schedule s : {Schedule::step, Schedule::alternating})
    EXPECT_GT(normed_us(s, 20, 1150), us(s, 20, 1150) + 1);
  EXPECT_LT(normed_us(Schedule::step, 20, 1150), normed_us(Schedule::alternating, 20, 1150));
  EXPECT_LT(normed_us(Schedule::alternating, 256, 2048), normed_us(Schedule::step, 256, 2048));
  EXPECT_TRUE(std::isinf(normed_us(Schedule::persistent, 20, 1150)));
  // Half the multiprocessors are not faster.
  DeviceFigures half;
  half.multiprocessors = 66;
  const RecurrentShape shape = {Cell::lstm, DType::bf16, MatmulMode::f32, 70, 20, 1150};
  EXPECT_GT(predict(Schedule::step, shape, half).both(),
            1.5 * predict(Schedule::step, shape, {}).both());
}

}  // namespace
}  // namespace unroll::test
