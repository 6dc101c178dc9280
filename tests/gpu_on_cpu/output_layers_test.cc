// Every output layer in a language model that trains through the real host code, its CUDA kernels
// executed on the CPU: losses and weights follow those of the CPU, captured steps equal eager ones
// bit for bit, evaluation gives the same losses.
#include <gtest/gtest.h>

#include "tests/gpu_on_cpu/small_model.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Kind = OutputLayer::Kind;

struct Case {
  const char* name;
  Kind kind;
  bool tied;
};

SmallModel::Spec spec(const Case& c) {
  SmallModel::Spec s = SmallModel::spec();
  s.model.L = 1;
  s.model.tied = c.tied;
  OutputLayer::Config& o = s.model.output = SmallModel::sampled_output();
  o.kind = c.kind;
  o.cutoffs = {5, 17};
  o.div_value = 2;
  o.bounds = {0, 1, 4, 9, 20, SmallModel::kV};
  return s;
}

struct Outcome {
  Trained trained;
  std::vector<double> nats;
};

Outcome run(const Device& device, const Case& c, bool eager) {
  SmallModel model(device, spec(c), eager);
  // The same chunk again and again: eager, captured, replayed.
  for (int step = 0; step < 3; ++step) model.train(1);
  EXPECT_EQ(model.scheduler->graphs(), eager ? 0u : 1u);
  Outcome o{Trained(model), {}};
  o.nats = model.scheduler->score(SmallModel::chunk(9), model.state);
  return o;
}

class OutputLayersOnGpu : public testing::TestWithParam<Case> {};

TEST_P(OutputLayersOnGpu, FollowTheCpuEagerAndCaptured) {
  const Outcome cpu = run(Device::cpu(1), GetParam(), true);
  const Outcome eager = run(Device::cuda(), GetParam(), true);
  expect_close(eager.trained.nats, cpu.trained.nats, 1e-5, "loss of training");
  expect_close(eager.trained.weights, cpu.trained.weights, 1e-4, "weights");
  expect_close(eager.nats, cpu.nats, 1e-5, "loss of evaluation");
  const Outcome captured = run(Device::cuda(), GetParam(), false);
  EXPECT_TRUE(captured.trained == eager.trained) << "captured differs from eager";
  EXPECT_EQ(captured.nats, eager.nats);
}

INSTANTIATE_TEST_SUITE_P(Kinds, OutputLayersOnGpu,
                         testing::Values(Case{"adaptive", Kind::adaptive, false},
                                         Case{"adaptive_tied", Kind::adaptive, true},
                                         Case{"sampled", Kind::sampled, false},
                                         Case{"class", Kind::classes, false}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace unroll::test
