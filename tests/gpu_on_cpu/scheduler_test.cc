// The scheduler on the simulated runtime: what a captured step asks of the device, and that
// captured programs of every kind give the bits of eager ones whatever the order of queued work.
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

constexpr int kSeeds = 4;

// What `program` makes of an eager model, and that a captured one gives the same for every seed.
Numbers same_bits(const SmallModel::Spec& spec,
                  const std::function<Numbers(SmallModel&)>& program) {
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
  SmallModel::Spec on_cpu = spec;
  on_cpu.model.schedule = Schedule::automatic;  // the others are a GPU's
  SmallModel model(Device::cpu(1), on_cpu, true);
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

// Of both passes over all time steps of one layer.
int64_t launches_of(Schedule schedule, int64_t T) {
  switch (schedule) {
    case Schedule::persistent:  // each way the mailboxes, then one kernel
      return 2 * 2;
    case Schedule::step:  // each way the packed weights and the carried-in state
      return 2 * (2 + T);
    default:  // R h and the cell; the cell and, but for one time step, R^T dz
      return 2 * T + 2 * T - 1;
  }
}

// Kernels, products and sorts of one training step, counted by hand.
int64_t launches_of(const SmallModel::Spec& spec) {
  const RnnLm::Config& c = spec.model;
  const int64_t T = SmallModel::kT, L = c.L, states = info_of(c.cell).states;
  const int64_t dropouts = c.dropout > 0 ? L + 1 : 0;
  const bool projected = c.tied && c.E != c.H;
  const Backend backend(Device::cuda());
  const Schedule schedule =
      choose_schedule(backend.exec(), c.schedule, c.cell, spec.act, T, SmallModel::kB, c.H)
          .schedule;
  const int64_t recurrence = L * launches_of(schedule, T);
  // Words; per layer: W x, h and c carried in and out.
  const int64_t forward = 1 + dropouts + L * (1 + 2 * states) + projected;
  // Logits, softmax, dx, dW_o, db_o.
  const int64_t head = 5;
  // Per layer: dR, db_W, db_R, dW, dx. Words: clear, keys, sort, sums; where the table is tied, the
  // head has overwritten what was there.
  const int64_t backward = 2 * projected + dropouts + L * 5 + 4 - (c.tied ? 1 : 0);
  // Norm, update, figures.
  const int64_t update = 2 + 1 + 1;
  return recurrence + forward + head + backward + update;
}

// What puts the gradients of weights aside: the head, a projection and every layer. They are joined
// once: before the words of a tied table, or at the end.
int64_t forks_of(const SmallModel::Spec& spec) {
  return 1 + (spec.model.tied && spec.model.E != spec.model.H) + spec.model.L;
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
  EXPECT_EQ(int64_t(m.scheduler->graph_nodes()), launches_of(GetParam()));
}

TEST_P(StepCalls, EagerStepIssuesWhatTheGraphHolds) {
  const int64_t launches = launches_of(GetParam());
  SmallModel m(Device::cuda(), GetParam(), true);
  m.train(0);
  gpu_on_cpu::take_calls();
  m.train(1);
  EXPECT_EQ(gpu_on_cpu::take_calls(), (Calls{{"cudaEventSynchronize", 1},
                                             {"cudaMemcpyAsync", 1},
                                             {"cudaEventRecord", 1 + forks_of(GetParam()) + 1},
                                             {"cudaStreamWaitEvent", forks_of(GetParam()) + 1},
                                             {"launch", launches}}));
}

std::vector<SmallModel::Spec> all_specs() {
  SmallModel::Spec adam = SmallModel::spec(), tied = adam, plain = adam, alternating = adam;
  SmallModel::Spec persistent = SmallModel::spec(Cell::lstm, DType::bf16);
  adam.rule = OptimizerSettings::Rule::adam;
  tied.model.tied = true;
  plain.model.dropout = 0;
  plain.model.L = 1;
  alternating.model.schedule = Schedule::alternating;
  persistent.model.schedule = Schedule::persistent;
  return {SmallModel::spec(),
          SmallModel::spec(Cell::lstm, DType::bf16),
          adam,
          SmallModel::spec(Cell::gru),
          SmallModel::spec(Cell::tanh),
          tied,
          plain,
          alternating,
          persistent};
}
constexpr const char* kSpecNames[] = {"lstm", "lstm_bf16", "adam",        "gru",       "tanh",
                                      "tied", "plain",     "alternating", "persistent"};
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
  expect_close(got, on_cpu(f32, ten_steps), GetParam().act == DType::bf16 ? 1e-2 : 1e-5,
               "training");
}
INSTANTIATE_TEST_SUITE_P(Models, CapturedModel, testing::ValuesIn(all_specs()), spec_name);

// Two micro-steps per update: two programs that share the gradients. The same chunk twice makes the
// gradient twice as long.
TEST(CapturedPrograms, GradientsAddUp) {
  SmallModel::Spec spec = SmallModel::spec();
  spec.model.dropout = 0;
  const auto program = [](SmallModel& m) {
    for (int step = 0; step < 4; ++step) {
      m.train(0, SmallModel::kT, /*first=*/true, /*last=*/false);
      m.train(0, SmallModel::kT, /*first=*/false, /*last=*/true);
    }
    Trained t(m);
    append(t.norm2, t.weights);
    return t.norm2;
  };
  const Numbers twice = same_bits(spec, program);
  SmallModel once(Device::cuda(), spec, true);
  once.train(0);
  EXPECT_FLOAT_EQ(float(twice[1]), float(4 * Trained(once).norm2[0]));
  expect_close(twice, on_cpu(spec, program), 1e-5, "norms and weights");
}

// The same chunk and weights, eager, captured and replayed: other masks every time, the same ones
// for the same number.
TEST(CapturedPrograms, MasksFollowTheirNumber) {
  same_bits(SmallModel::spec(), [](SmallModel& m) {
    for (const uint64_t mask_step : {0, 1, 2, 3, 0, 2}) {
      StepScalars scalars;
      scalars.mask_step = mask_step;
      m.scheduler->train(SmallModel::chunk(0), m.state, scalars);
    }
    const Numbers nats = Trained(m).nats;
    for (size_t i = 0; i < 4; ++i)
      for (size_t j = 0; j < i; ++j) EXPECT_NE(nats[i], nats[j]);
    EXPECT_EQ(nats[4], nats[0]);
    EXPECT_EQ(nats[5], nats[2]);
    return nats;
  });
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

// Words are fed one by one; the state is carried from call to call. Distributions need a larger
// output buffer than the scores before them, whose graph must not keep the old one.
TEST(CapturedPrograms, NextWords) {
  const auto program = [](SmallModel& m) {
    Numbers all;
    for (int step = 0; step < 3; ++step)
      append(all, m.scheduler->score(SmallModel::chunk(step), m.state));
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
