// A two-layer LSTM language model trains ten steps through the real host code and the real kernels,
// executed on the CPU: eager and captured give the same bits, under every order of queued work, and
// both follow the CPU backend.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "host/train/scheduler.h"
#include "models/rnn_lm.h"
#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll {
namespace {

constexpr int kV = 37, kT = 5, kB = 3, kSteps = 10;

// Words of a random text whose next word is often a function of the last, so that there is
// something to learn.
HostChunk chunk_of(int step) {
  std::mt19937 random(unsigned(step) + 1);
  HostChunk c;
  c.T = kT;
  c.B = kB;
  for (int i = 0; i < kT * kB; ++i) {
    c.input.push_back(int32_t(random() % kV));
    c.target.push_back(i == 4 ? -1 : (c.input.back() * 5 + int32_t(random() % 2)) % kV);
  }
  c.keep.assign(kB, step == 0 ? 0 : 1);
  c.tokens = kT * kB - 1;
  return c;
}

struct Trained {
  std::vector<double> nats, norm2, weights;
  size_t graphs = 0, nodes = 0;
};

// `wait` synchronises after each step, which must change nothing.
Trained train(const Device& device, OptimizerSettings::Rule rule, bool eager, bool wait = false) {
  const Backend backend(device);
  ParamStore params;
  RnnLm::Config config;
  config.V = kV;
  config.E = 11;
  config.H = 13;
  config.L = 2;
  config.dropout = 0.25;
  const RnnLm model(config, params);
  params.materialize(backend, DType::f32, 7);
  OptimizerSettings settings;
  settings.rule = rule;
  settings.decay = 1e-3;
  const Optimizer optimizer(backend, params, settings);
  const State state(backend, model.state_shape(), kB, DType::f32);
  Scheduler::Options options;
  options.max_tokens = kT * kB;
  options.max_lanes = kB;
  options.eager = eager;
  Scheduler scheduler(backend, model, params, &optimizer, options);
  for (int step = 0; step < kSteps; ++step) {
    StepScalars scalars;
    // Every scalar changes from step to step: one that a graph had kept would show.
    scalars.update.lr = (rule == OptimizerSettings::Rule::sgd ? 0.5 : 0.02) / (1 + step);
    scalars.update.clip = 0.4 + 0.05 * step;
    scalars.update.step = step + 1;
    scalars.seed = 3;
    scalars.mask_step = uint64_t(step);
    scalars.weight = 1.0 / kB;
    scheduler.train(chunk_of(step), state, scalars);
    if (wait) backend.stream().synchronize();
  }
  Trained result;
  for (const StepFigures& f : scheduler.take_figures()) {
    result.nats.push_back(f.nats);
    result.norm2.push_back(f.norm2);
  }
  for (size_t i = 0; i < params.entries().size(); ++i) {
    std::vector<float> values(size_t(params.entries()[i].size()));
    params.read(backend, int(i), values.data());
    result.weights.insert(result.weights.end(), values.begin(), values.end());
  }
  result.graphs = scheduler.graphs();
  result.nodes = scheduler.graph_nodes();
  return result;
}

void expect_close(const std::vector<double>& a, const std::vector<double>& b, double tolerance,
                  const char* what) {
  ASSERT_EQ(a.size(), b.size());
  double worst = 0, scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double e = std::abs(a[i] - b[i]);
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
    scale = std::max(scale, std::abs(b[i]));
  }
  EXPECT_LE(worst, tolerance * scale) << what << " differ from the CPU's";
}

class WholeModel : public testing::TestWithParam<OptimizerSettings::Rule> {};

TEST_P(WholeModel, FollowsTheCpuEagerAndCaptured) {
  const Trained cpu = train(Device::cpu(1), GetParam(), true);
  const Trained eager = train(Device::cuda(), GetParam(), true);
  ASSERT_EQ(cpu.nats.size(), size_t(kSteps));
  EXPECT_EQ(eager.graphs, 0u);
  // Rounding of f32 over ten steps; a kernel that is 1% wrong is far outside.
  expect_close(eager.nats, cpu.nats, 1e-5, "losses");
  expect_close(eager.norm2, cpu.norm2, 1e-4, "gradient norms");
  expect_close(eager.weights, cpu.weights, 1e-4, "weights");
  const int seeds = gpu_on_cpu::race_build() || gpu_on_cpu::asan_build() ? 2 : 8;
  for (int seed = 1; seed <= seeds; ++seed) {
    gpu_on_cpu::set_queue_seed(uint64_t(seed));
    const Trained captured = train(Device::cuda(), GetParam(), false, seed % 2 == 0);
    EXPECT_EQ(captured.graphs, 1u);
    EXPECT_GT(captured.nodes, 20u);
    EXPECT_EQ(captured.nats, eager.nats) << "seed " << seed;
    EXPECT_EQ(captured.norm2, eager.norm2) << "seed " << seed;
    EXPECT_EQ(captured.weights, eager.weights) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Rules, WholeModel, testing::Values(OptimizerSettings::Rule::sgd, OptimizerSettings::Rule::adam),
    [](const auto& info) { return info.param == OptimizerSettings::Rule::sgd ? "sgd" : "adam"; });

}  // namespace
}  // namespace unroll
