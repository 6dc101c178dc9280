// wavefront.h: what the parts cover, what is predicted, and what is chosen for that reason.
#include "kernels/recurrent/wavefront.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

TEST(WavefrontParts, CoverAllStepsAndPairPartsOfOneLengthWhoseInputIsThere) {
  for (int64_t T = 2; T < 40; ++T)
    for (int64_t P = 2; P <= T; ++P) {
      Steps lower = lower_part(T, P, 0);
      ASSERT_EQ(lower.first, 0);
      int64_t upper_end = 0;
      for (int64_t k = 0; k < P; ++k) {
        const Steps upper = upper_part(T, P, k);
        const int64_t lower_end = lower.first + lower.count;
        ASSERT_EQ(upper.first, upper_end) << T << " " << P;
        upper_end += upper.count;
        ASSERT_LE(upper_end, lower_end) << T << " " << P;
        if (k + 1 == P) break;
        lower = lower_part(T, P, k + 1);
        ASSERT_EQ(lower.first, lower_end) << T << " " << P;
        ASSERT_EQ(lower.count, upper.count) << T << " " << P;
      }
      ASSERT_EQ(lower.first + lower.count, T);
      ASSERT_EQ(upper_end, T);
    }
}

constexpr RecurrentShape kLong = {Cell::lstm, DType::bf16, MatmulMode::f32, 1024, 16, 768};

TEST(WavefrontPrediction, SavesStepsAndPaysInLaunches) {
  DeviceFigures d;
  const double whole = predict(Schedule::persistent, kLong, d).both() - 2 * d.launch_us / 1024;
  d.multiprocessors = 66;
  d.pairs = 33;
  d.fours = 16;
  const double half = predict(Schedule::persistent, kLong, d).both() - 2 * d.launch_us / 1024;
  // Between the layers, each way: dropout, and a product that reads the 4 H rows of W.
  const double between = 2 * (2 * 1.3 + 4 * 768 * 768 * 2 / 5.5e6);
  EXPECT_NEAR(predict_wavefront(kLong, 1), 2 * (1024 * whole + 10) + between, 1e-6);
  // 3 parts of 341 steps, and one step more where a part runs alone.
  EXPECT_NEAR(predict_wavefront(kLong, 3), 2 * 342 * whole + 2 * 341 * half + 4 * 10 + 3 * between,
              1e-6);
  // Two kernels more for each part.
  EXPECT_NEAR(predict_wavefront(kLong, 3, {}, 2) - predict_wavefront(kLong, 3), 3 * 2 * 1.3, 1e-6);
  EXPECT_LT(predict_wavefront(kLong, 8), 0.75 * predict_wavefront(kLong, 1));
}

TEST(WavefrontPrediction, IsInfiniteWhereHalfOfTheDeviceDoesNotHoldTheMatrix) {
  const RecurrentShape wide = {Cell::lstm, DType::bf16, MatmulMode::f32, 70, 20, 1500};
  EXPECT_TRUE(std::isfinite(predict_wavefront(wide, 1)));
  EXPECT_FALSE(std::isfinite(predict_wavefront(wide, 2)));
}

TEST(WavefrontNames, AreThoseOfTheSetting) {
  for (const Wavefront w : {Wavefront::automatic, Wavefront::on, Wavefront::off})
    EXPECT_EQ(wavefront_of(name_of(w)), w);
  EXPECT_THROW(wavefront_of("maybe"), Error);
}

class WavefrontChoiceTest : public OnTargets {
 protected:
  bool on_cuda() const { return GetParam().device == DeviceKind::cuda; }
  WavefrontTask task(Wavefront asked, int64_t T, int64_t H) const {
    return {asked, Schedule::automatic, Cell::lstm, act(), T, 16, H, H, ""};
  }
  std::string refusal(const WavefrontTask& task) {
    try {
      choose_wavefront(exec(), task);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::usage);
      return e.what();
    }
    return "";
  }
};

TEST_P(WavefrontChoiceTest, FollowsThePrediction) {
  if (!on_cuda() || act() != DType::bf16) return;
  for (const Schedule schedule : {Schedule::automatic, Schedule::persistent}) {
    WavefrontTask t = task(Wavefront::automatic, 1024, 768);
    t.schedule = schedule;
    const WavefrontChoice choice = choose_wavefront(exec(), t);
    EXPECT_GT(choice.parts, 4);
    for (const int64_t P : {2, 4, 64, 128})
      EXPECT_LE(predict_wavefront(kLong, choice.parts), predict_wavefront(kLong, P)) << P;
    EXPECT_NE(choice.reason.find("predicted: "), std::string::npos) << choice.reason;
  }
  // Too short for another launch to pay; too wide for half of the device; as asked.
  EXPECT_EQ(choose_wavefront(exec(), task(Wavefront::automatic, 5, 768)).parts, 1);
  const WavefrontChoice wide = choose_wavefront(exec(), task(Wavefront::automatic, 70, 1500));
  EXPECT_EQ(wide.parts, 1);
  EXPECT_NE(wide.reason.find("on half of the device"), std::string::npos) << wide.reason;
  EXPECT_EQ(choose_wavefront(exec(), task(Wavefront::on, 5, 768)).parts, 2);
  EXPECT_EQ(choose_wavefront(exec(), task(Wavefront::off, 1024, 768)).parts, 1);
}

TEST_P(WavefrontChoiceTest, SaysWhyItCannotRunWhatWasAskedFor) {
  WavefrontTask t = task(Wavefront::on, 70, 768);
  if (!on_cuda()) {
    EXPECT_NE(refusal(t).find("the CPU runs one layer after the other"), std::string::npos);
    return;
  }
  t.schedule = Schedule::step;
  EXPECT_NE(refusal(t).find("the schedule is step"), std::string::npos) << refusal(t);
  t.schedule = Schedule::automatic;
  t.obstacle = "of the caller";
  EXPECT_NE(refusal(t).find("of the caller; use --wavefront auto"), std::string::npos);
  if (act() == DType::bf16) {
    EXPECT_NE(refusal(task(Wavefront::on, 70, 1500)).find("on half of"), std::string::npos);
  }
  t.H_upper = 400;
  EXPECT_EQ(choose_wavefront(exec(), t).parts, 1);
}

UNROLL_ON_TARGETS(WavefrontChoiceTest);

}  // namespace
}  // namespace unroll::test
