// The whole of AWD-LSTM-MoS in small, through the real host code and the CUDA kernels executed on
// the CPU: weight drop, locked and embedding dropout, noise on word vectors, activation penalties,
// tied weights over layers of unequal width, a mixture of softmaxes, adversarial targets. It follows
// the CPU backend, which follows PyTorch, and captured steps give the bits of eager ones.
#include <gtest/gtest.h>

#include "tests/gpu_on_cpu/small_model.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

constexpr int kSteps = 4;

Trained train(const Device& device, DType act, bool mixed, bool eager) {
  SmallModel::Spec spec = SmallModel::spec();
  spec.act = act;
  spec.model.tied = spec.model.locked = true;
  spec.model.dropout_embedding = 0.2;
  spec.model.embedding_noise = 0.1;
  spec.model.adversarial = 0.1;
  spec.model.weight_drop = 0.4;
  spec.model.ar = 2;
  spec.model.tar = 1;
  // Rows of 11 in bf16 have room behind them, which keeps the experts' vectors apart.
  spec.model.H_last = mixed ? 9 : spec.model.E;
  spec.model.mixtures = mixed ? 3 : 0;
  SmallModel model(device, spec, eager);
  for (int step = 0; step < kSteps; ++step) model.train(step);
  // Two micro-steps: gradients under the bits of one chunk are added to those of another.
  model.train(kSteps, SmallModel::kT, true, false);
  model.train(kSteps + 1, SmallModel::kT, false, true);
  return Trained(model);
}

class RegularizedModel : public testing::TestWithParam<bool> {};

TEST_P(RegularizedModel, FollowsTheCpuEagerAndCaptured) {
  const Trained cpu = train(Device::cpu(1), DType::f32, GetParam(), true);
  const Trained eager = train(Device::cuda(), DType::f32, GetParam(), true);
  expect_follows(eager, cpu);
  EXPECT_TRUE(train(Device::cuda(), DType::f32, GetParam(), false) == eager);
}

TEST_P(RegularizedModel, Bf16StaysNearF32) {
  const Trained f32 = train(Device::cpu(1), DType::f32, GetParam(), true);
  const Trained bf16 = train(Device::cuda(), DType::bf16, GetParam(), true);
  expect_close(bf16.nats, f32.nats, 1e-3, "loss");
  expect_close(bf16.norm2, f32.norm2, 2e-2, "gradient norm");
  expect_close(bf16.weights, f32.weights, 8e-3, "weights");
}

// Recurrent weights under a mask that the passes apply, or as a copy.
SmallModel::Spec dropped(Schedule schedule, DType act = DType::f32) {
  SmallModel::Spec spec = SmallModel::spec(Cell::gru, act);
  spec.model.H = 33;  // the last bit of a row is alone in its word
  spec.model.weight_drop = 0.4;
  spec.model.schedule = schedule;
  return spec;
}

TEST(WeightDroppedModel, FollowsTheCpuInEverySchedule) {
  const auto train = [](const Device& device, Schedule schedule, bool eager) {
    SmallModel model(device, dropped(schedule), eager);
    for (int step = 0; step < 3; ++step) model.train(step);
    return Trained(model);
  };
  const Trained cpu = train(Device::cpu(1), Schedule::automatic, true);
  for (const Schedule schedule : {Schedule::persistent, Schedule::step, Schedule::alternating}) {
    SCOPED_TRACE(name_of(schedule));
    const Trained eager = train(Device::cuda(), schedule, true);
    expect_follows(eager, cpu);
    EXPECT_TRUE(train(Device::cuda(), schedule, false) == eager);
  }
}

TEST(WeightDroppedModel, KeepsACopyOnlyForSchedulesThatReadOne) {
  const auto bytes = [](Schedule schedule, bool normalised) {
    SmallModel::Spec spec = dropped(schedule, DType::bf16);
    spec.model.layer_norm = normalised;
    const auto measured = [&] {
      SmallModel model(Device::cuda(), spec, true);
      return int64_t(
          model.scheduler->measure(true, SmallModel::kT, SmallModel::kB, false, model.state).bytes);
    };
    const int64_t with = measured();
    spec.model.weight_drop = 0;
    return with - measured();
  };
  const auto block = [](int64_t bytes) { return (bytes + 255) / 256 * 256; };
  // Rows of bf16 begin on 16 bytes.
  const int64_t rows = 3 * 33, layers = 2, bits = layers * block(rows * 2 * 4),
                copies = layers * block(rows * 40 * 2);
  EXPECT_EQ(bytes(Schedule::persistent, false), bits);
  EXPECT_EQ(bytes(Schedule::step, false), bits);
  EXPECT_EQ(bytes(Schedule::step, true), bits);
  EXPECT_EQ(bytes(Schedule::alternating, true), bits + copies);
  // Some of it lies where there was room.
  EXPECT_GT(bytes(Schedule::alternating, false), bits + copies / 2);
}

INSTANTIATE_TEST_SUITE_P(Heads, RegularizedModel, testing::Values(false, true),
                         [](const auto& info) { return info.param ? "mixture" : "tied"; });

}  // namespace
}  // namespace unroll::test
