// Captured programs of every kind give the bits of eager ones whatever the order of queued work.
#include "host/train/scheduler.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/gpu_on_cpu/model_specs.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

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

class CapturedModel : public testing::TestWithParam<SmallModel::Spec> {};

TEST_P(CapturedModel, TenStepsEqualEagerAndFollowTheCpu) {
  const Numbers got = same_bits(GetParam(), ten_steps);
  SmallModel::Spec f32 = GetParam();
  f32.act = DType::f32;
  // A bf16 model drifts away from the f32 one by its rounding, over ten steps.
  expect_close(got, on_cpu(f32, ten_steps), GetParam().act == DType::bf16 ? 1e-2 : 1e-5,
               "training");
}
INSTANTIATE_TEST_SUITE_P(Models, CapturedModel, testing::ValuesIn(model_specs()), model_name);

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

// A sample between epochs needs a larger output buffer; no graph of training holds that.
TEST(CapturedPrograms, OfTrainingOutliveASample) {
  SmallModel m(Device::cuda(), SmallModel::spec(), false);
  for (int step = 0; step < 3; ++step) m.train(step);
  const size_t graphs = m.scheduler->graphs();
  EXPECT_GT(graphs, 0u);
  m.scheduler->next_word({1, 2, 3}, {0, 0, 0}, m.state);
  EXPECT_EQ(m.scheduler->graphs(), graphs);
}

}  // namespace
}  // namespace unroll::test
