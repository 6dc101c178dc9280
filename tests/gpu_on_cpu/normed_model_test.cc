// A model with layer normalisation through the real host code and the CUDA kernels executed on the
// CPU: in each schedule that takes it, it follows the CPU backend, which follows PyTorch; captured
// steps give the bits of eager ones, and bf16 stays near f32.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/gpu_on_cpu/small_model.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

void round_weights(SmallModel& model) {
  for (size_t i = 0; i < model.params.entries().size(); ++i) {
    std::vector<float> values(size_t(model.params.entries()[i].size()));
    model.params.read(model.backend, int(i), values.data());
    for (float& value : values) value = float(bf16(value));
    model.params.write(model.backend, int(i), values.data());
  }
}

Trained train(const Device& device, DType act, Cell cell, Schedule schedule, bool eager,
              bool rounded = false) {
  SmallModel::Spec spec = SmallModel::spec(cell, act);
  spec.model.layer_norm = true;
  spec.model.schedule = schedule;
  spec.model.zoneout_h = 0.1;
  spec.model.weight_drop = 0.2;
  SmallModel model(device, spec, eager);
  for (int step = 0; step < 4; ++step) {
    if (rounded) round_weights(model);
    model.train(step);
  }
  return Trained(model);
}

class NormedModel : public testing::TestWithParam<Cell> {};

TEST_P(NormedModel, FollowsTheCpuEagerAndCaptured) {
  const Trained cpu = train(Device::cpu(1), DType::f32, GetParam(), Schedule::automatic, true);
  for (const Schedule schedule : {Schedule::alternating, Schedule::step}) {
    SCOPED_TRACE(name_of(schedule));
    const Trained eager = train(Device::cuda(), DType::f32, GetParam(), schedule, true);
    expect_follows(eager, cpu);
    if (schedule == Schedule::step) {
      EXPECT_TRUE(train(Device::cuda(), DType::f32, GetParam(), schedule, false) == eager);
    }
  }
}

// Division by a small deviation enlarges what bf16 rounds off; by how much, weights rounded to bf16
// in f32 arithmetic tell, the least that bf16 does.
TEST_P(NormedModel, Bf16StaysNearF32) {
  const auto of_cpu = [&](bool rounded) {
    return train(Device::cpu(1), DType::f32, GetParam(), Schedule::automatic, true, rounded);
  };
  const Trained f32 = of_cpu(false), rounded = of_cpu(true);
  const Trained bf16 = train(Device::cuda(), DType::bf16, GetParam(), Schedule::step, true);
  const auto near = [](const std::vector<double>& got, const std::vector<double>& expected,
                       const std::vector<double>& moved, double least, const char* what) {
    expect_close(got, expected, std::max(least, 2 * relative_error(moved, expected)), what);
  };
  near(bf16.nats, f32.nats, rounded.nats, 1e-3, "loss");
  near(bf16.norm2, f32.norm2, rounded.norm2, 2e-2, "gradient norm");
  near(bf16.weights, f32.weights, rounded.weights, 8e-3, "weights");
}

INSTANTIATE_TEST_SUITE_P(Cells, NormedModel, testing::Values(Cell::lstm, Cell::gru),
                         [](const auto& info) { return info_of(info.param).name; });

}  // namespace
}  // namespace unroll::test
