// What a training step asks of the simulated runtime, captured and eager.
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "tests/gpu_on_cpu/model_specs.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll::test {
namespace {

using Calls = std::map<std::string, int64_t>;

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

INSTANTIATE_TEST_SUITE_P(Models, StepCalls, testing::ValuesIn(model_specs()), model_name);

}  // namespace
}  // namespace unroll::test
