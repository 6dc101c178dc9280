// The scheduler on the simulated runtime: what a captured step asks of the device, and that captured
// programs of every kind give the bits of eager ones whatever the order of queued work.
#include "host/train/scheduler.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/gpu_on_cpu/small_model.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Calls = std::map<std::string, int64_t>;
using Numbers = std::vector<double>;

constexpr int kSeeds = 6;

// What `program` makes of an eager model, and that a captured one gives the same for every seed.
Numbers same_bits(const SmallModel::Spec& spec, const std::function<Numbers(SmallModel&)>& program) {
  SmallModel eager(Device::cuda(), spec, true);
  const Numbers expected = program(eager);
  EXPECT_EQ(eager.scheduler->graphs(), 0u);
  for (int seed = 1; seed <= kSeeds; ++seed) {
    gpu_on_cpu::set_queue_seed(uint64_t(seed));
    SmallModel captured(Device::cuda(), spec, false);
    EXPECT_TRUE(program(captured) == expected) << "captured differs from eager, seed " << seed;
    EXPECT_GT(captured.scheduler->graphs(), 0u);
  }
  return expected;
}

Numbers on_cpu(const SmallModel::Spec& spec, const std::function<Numbers(SmallModel&)>& program) {
  SmallModel model(Device::cpu(1), spec, true);
  return program(model);
}

void append(Numbers& to, const Numbers& from) { to.insert(to.end(), from.begin(), from.end()); }

Numbers ten_steps(SmallModel& m) {
  for (int step = 0; step < 10; ++step) m.train(step);
  const Trained t(m);
  Numbers all = t.nats;
  append(all, t.norm2);
  append(all, t.weights);
  return all;
}

// --- what a step asks of the device -------------------------------------------------------------

// Kernels, products, sorts, fills and copies of one training step.
size_t expected_nodes(const SmallModel::Spec& spec) {
  (void)spec;
  return 0;
}

class StepCalls : public testing::TestWithParam<SmallModel::Spec> {};

TEST_P(StepCalls, NoSynchronisationAndNoAllocation) {
  SmallModel m(Device::cuda(), GetParam(), false);
  for (int step = 0; step < 3; ++step) m.train(step);  // eager, captured, replayed
  gpu_on_cpu::take_calls();
  for (int step = 3; step < 8; ++step) m.train(step);
  // One copy in, one launch; the event guards the pinned half that the copy two steps ago has read.
  EXPECT_EQ(gpu_on_cpu::take_calls(), (Calls{{"cudaEventSynchronize", 5},
                                             {"cudaMemcpyAsync", 5},
                                             {"cudaEventRecord", 5},
                                             {"cudaGraphLaunch", 5}}));
  EXPECT_EQ(m.scheduler->graph_nodes(), expected_nodes(GetParam()));
}

TEST_P(StepCalls, EagerStepIssuesWhatTheGraphHolds) {
  SmallModel m(Device::cuda(), GetParam(), true);
  m.train(0);
  gpu_on_cpu::take_calls();
  m.train(1);
  Calls calls = gpu_on_cpu::take_calls();
  EXPECT_EQ(size_t(calls["launch"] + calls["cudaMemsetAsync"] + calls["cudaMemcpyAsync"] - 1),
            expected_nodes(GetParam()));
  for (const char* name : {"cudaStreamSynchronize", "cudaDeviceSynchronize", "pageable copy",
                           "cudaMalloc", "cudaFree", "cudaMallocHost", "cudaFreeHost"})
    EXPECT_EQ(calls[name], 0) << name;
}

std::vector<SmallModel::Spec> all_specs() {
  SmallModel::Spec adam = SmallModel::spec(), tied = SmallModel::spec(), plain = SmallModel::spec();
  adam.rule = OptimizerSettings::Rule::adam;
  tied.model.tied = true;
  plain.model.dropout = 0;
  plain.model.L = 1;
  return {SmallModel::spec(), SmallModel::spec(Cell::lstm, DType::bf16), adam,
          SmallModel::spec(Cell::gru), SmallModel::spec(Cell::tanh), tied, plain};
}
constexpr const char* kSpecNames[] = {"lstm", "lstm_bf16", "adam", "gru", "tanh", "tied", "plain"};
std::string spec_name(const testing::TestParamInfo<SmallModel::Spec>& info) {
  return kSpecNames[info.index];
}
INSTANTIATE_TEST_SUITE_P(Models, StepCalls, testing::ValuesIn(all_specs()), spec_name);

// --- captured equals eager ----------------------------------------------------------------------

class CapturedModel : public testing::TestWithParam<SmallModel::Spec> {};

TEST_P(CapturedModel, TenStepsEqualEagerAndFollowTheCpu) {
  const Numbers got = same_bits(GetParam(), ten_steps);
  SmallModel::Spec f32 = GetParam();
  f32.act = DType::f32;
  // A bf16 model drifts away from the f32 one by its rounding, over ten steps.
  expect_close(got, on_cpu(f32, ten_steps), GetParam().act == DType::bf16 ? 1e-2 : 1e-5, "training");
}
INSTANTIATE_TEST_SUITE_P(Models, CapturedModel, testing::ValuesIn(all_specs()), spec_name);

// Two micro-steps per update: two programs that share the gradients.
TEST(CapturedPrograms, GradientsAddUp) {
  const auto program = [](SmallModel& m) {
    for (int step = 0; step < 10; ++step)
      m.train(step, SmallModel::kT, step % 2 == 0, step % 2 == 1);
    return Trained(m).weights;
  };
  expect_close(same_bits(SmallModel::spec(), program), on_cpu(SmallModel::spec(), program), 1e-4,
               "weights");
}

// Figures may be taken at any time.
TEST(CapturedPrograms, FiguresAreReadAfterTheirSteps) {
  const auto program = [](SmallModel& m) {
    Numbers all;
    for (int step = 0; step < 10; ++step) {
      m.train(step);
      if (step % 3 == 2) append(all, Trained(m).nats);
    }
    append(all, Trained(m).nats);
    return all;
  };
  EXPECT_EQ(same_bits(SmallModel::spec(), program).size(), 10u);
}

// A longer chunk moves the arena; graphs that hold the old addresses must go.
TEST(CapturedPrograms, OutliveAMoveOfTheArena) {
  const auto program = [](SmallModel& m) {
    Numbers all;
    size_t bytes = 0;
    for (int step = 0; step < 12; ++step) {
      m.train(step, step % 8 < 4 ? SmallModel::kT : 2 * SmallModel::kT);
      if (step == 3) bytes = m.scheduler->arena_bytes();
    }
    EXPECT_GT(m.scheduler->arena_bytes(), bytes);
    return Trained(m).weights;
  };
  same_bits(SmallModel::spec(), program);
}

TEST(CapturedPrograms, EvaluationAndScores) {
  const auto program = [](SmallModel& m) {
    Numbers all;
    for (int step = 0; step < 4; ++step) m.scheduler->evaluate(SmallModel::chunk(step), m.state);
    for (const StepFigures& f : m.scheduler->take_figures()) all.push_back(f.nats);
    for (int step = 4; step < 8; ++step)
      append(all, m.scheduler->score(SmallModel::chunk(step), m.state));
    return all;
  };
  for (const Cell cell : {Cell::lstm, Cell::gru})
    expect_close(same_bits(SmallModel::spec(cell), program),
                 on_cpu(SmallModel::spec(cell), program), 1e-5, "scores");
  same_bits(SmallModel::spec(Cell::lstm, DType::bf16), program);
}

// Words are fed one by one; the state is carried from call to call. A call for fewer lanes, and a
// score in between, are programs of their own.
TEST(CapturedPrograms, NextWords) {
  const auto program = [](SmallModel& m) {
    Numbers all;
    for (int32_t i = 0; i < 5; ++i)
      append(all, m.scheduler->next_word({i, 2 * i + 1, 30 - i}, {i != 0, 1, i != 3}, m.state));
    append(all, m.scheduler->score(SmallModel::chunk(1), m.state));
    append(all, m.scheduler->next_word({1, 2, 3}, {1, 1, 1}, m.state));
    return all;
  };
  expect_close(same_bits(SmallModel::spec(), program), on_cpu(SmallModel::spec(), program), 1e-5,
               "log-probabilities");
  same_bits(SmallModel::spec(Cell::lstm, DType::bf16), program);
}

}  // namespace
}  // namespace unroll::test
