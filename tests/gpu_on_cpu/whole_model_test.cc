// A two-layer LSTM language model trains ten steps through the real host code and the real kernels,
// executed on the CPU: eager and captured give the same bits, under every order of queued work, and
// both follow the CPU backend.
#include <gtest/gtest.h>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/gpu_on_cpu/small_model.h"

namespace unroll::test {
namespace {

constexpr int kSteps = 10;

// `wait` synchronises after each step, which must change nothing.
Trained train(const Device& device, OptimizerSettings::Rule rule, bool eager, bool wait = false) {
  SmallModel::Spec spec = SmallModel::spec();
  spec.rule = rule;
  SmallModel model(device, spec, eager);
  for (int step = 0; step < kSteps; ++step) {
    model.train(step);
    if (wait) model.backend.stream().synchronize();
  }
  EXPECT_EQ(model.scheduler->graphs(), eager ? 0u : 1u);
  return Trained(model);
}

class WholeModel : public testing::TestWithParam<OptimizerSettings::Rule> {};

TEST_P(WholeModel, FollowsTheCpuEagerAndCaptured) {
  const Trained cpu = train(Device::cpu(1), GetParam(), true);
  const Trained eager = train(Device::cuda(), GetParam(), true);
  ASSERT_EQ(cpu.nats.size(), size_t(kSteps));
  expect_follows(eager, cpu);
  const int seeds = gpu_on_cpu::race_build() || gpu_on_cpu::asan_build() ? 2 : 4;
  for (int seed = 1; seed <= seeds; ++seed) {
    gpu_on_cpu::set_queue_seed(uint64_t(seed));
    EXPECT_TRUE(train(Device::cuda(), GetParam(), false, seed % 2 == 0) == eager)
        << "captured differs from eager, seed " << seed;
  }
}

// Between events, eagerly; the host never waits for a chunk, and the bits are the same.
TEST(WholeModelTimes, CountsEveryOpAndChangesNoBit) {
  SmallModel::Spec spec = SmallModel::spec();
  SmallModel plain(Device::cuda(), spec, false);
  spec.times = true;
  SmallModel timed(Device::cuda(), spec, false);
  for (int step = 0; step < StepTimes::kWarmUp + 2; ++step) {
    plain.train(step);
    timed.train(step);
  }
  EXPECT_EQ(timed.scheduler->graphs(), 0u);
  const StepTimes::Report r = timed.times->report();
  EXPECT_EQ(r.chunks, 2);
  int loops = 0;
  for (const StepTimes::Row& row : r.rows)
    if (row.op.starts_with("recurrent ") && row.part == "loop") {
      ++loops;
      EXPECT_GT(row.forward, 0) << row.op;
      EXPECT_GT(row.backward, 0) << row.op;
    }
  EXPECT_EQ(loops, 2);
  EXPECT_EQ(r.rows.back().op, "norm, clip, update");
  EXPECT_TRUE(Trained(timed) == Trained(plain));
}

// How many rows of the word vectors, and of an output layer that is trained on samples, have a
// gradient is known on the device only.
TEST(WholeModelByRows, EqualsTheWholeGradientEagerAndCaptured) {
  using Rule = OptimizerSettings::Rule;
  for (const auto& [act, rule] :
       {std::pair(DType::f32, Rule::adagrad), std::pair(DType::bf16, Rule::sgd)}) {
    SmallModel::Spec spec = SmallModel::spec(Cell::lstm, act);
    spec.model.L = 1;
    spec.rule = rule;
    spec.decay = 0;
    if (rule == Rule::adagrad) spec.model.output = SmallModel::sampled_output();
    const auto run = [&spec](bool row_gradient, bool eager) {
      spec.row_gradient = row_gradient;
      SmallModel model(Device::cuda(), spec, eager);
      for (int step = 0; step < 3; ++step) model.train(step, 2);
      return Trained(model);
    };
    const Trained whole = run(false, true);
    EXPECT_TRUE(run(true, true) == whole);
    EXPECT_TRUE(run(true, false) == whole) << "captured";
  }
}

// Of two micro-steps, the second shorter, and of one.
TEST(WholeModelByRows, AddsUpMicroStepsEagerAndCaptured) {
  SmallModel::Spec spec = SmallModel::spec();
  spec.model.L = 1;
  spec.decay = 0;
  spec.micro_steps = 2;
  spec.model.output = SmallModel::sampled_output();
  const auto run = [&spec](bool row_gradient, bool eager) {
    spec.row_gradient = row_gradient;
    SmallModel model(Device::cuda(), spec, eager);
    for (int update = 0; update < 3; ++update) {
      model.train(3 * update, 4, true, false);
      model.train(3 * update + 1, 2, false, true);
      model.train(3 * update + 2, 4);
    }
    return Trained(model);
  };
  const Trained whole = run(false, true);
  EXPECT_TRUE(run(true, true) == whole);
  EXPECT_TRUE(run(true, false) == whole) << "captured";
}

INSTANTIATE_TEST_SUITE_P(
    Rules, WholeModel, testing::Values(OptimizerSettings::Rule::sgd, OptimizerSettings::Rule::adam),
    [](const auto& info) { return info.param == OptimizerSettings::Rule::sgd ? "sgd" : "adam"; });

}  // namespace
}  // namespace unroll::test
