// Gradients of weights on the side branch: the bits of the run in order, eager and captured, be the
// side's work late or early; and a captured step that has two branches.
#include "host/device/side_branch.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "host/ops/recurrent_layer.h"
#include "kernels/elementwise/add.h"
#include "tests/gpu_on_cpu/rows.h"
#include "tests/gpu_on_cpu/runtime/arrays.h"
#include "tests/gpu_on_cpu/small_model.h"

namespace unroll::test {
namespace {

using gpu_on_cpu::Background;
using gpu_on_cpu::GraphNode;

constexpr Background kOrders[] = {Background::last, Background::first};

// --- the stand-in -------------------------------------------------------------------------------

TEST(SideBranchRuntime, BackgroundWorkRunsAsLateOrAsEarlyAsEventsAllow) {
  const Device device = Device::cuda();
  const auto order = [&](Background background) {
    Stream main(device), side(device, Priority::low);
    Event event(device);
    gpu_on_cpu::set_background(background);
    std::string ran;
    const auto issue = [&](const Stream& stream, char c) {
      gpu_on_cpu::enqueue(stream.handle(), [&ran, c] { ran += c; });
    };
    issue(main, '1');
    event.record(main);
    side.wait(event);
    issue(side, 'a');
    for (const char c : {'2', '3', '4'}) issue(main, c);
    event.record(side);
    main.wait(event);
    issue(main, '5');
    device.synchronize();
    return ran;
  };
  for (uint64_t seed = 0; seed < 9; ++seed) {
    gpu_on_cpu::set_queue_seed(seed);
    EXPECT_EQ(order(Background::last), "1234a5");
    EXPECT_EQ(order(Background::first), "1a2345");
  }
}

// --- whole models -------------------------------------------------------------------------------

struct Case {
  const char* name;
  SmallModel::Spec spec;
};

std::vector<Case> cases() {
  using Rule = OptimizerSettings::Rule;
  const SmallModel::Spec lstm = SmallModel::spec();
  SmallModel::Spec awd = lstm, mixture, noisy = SmallModel::spec(Cell::gru), normed = lstm,
                   persistent = SmallModel::spec(Cell::lstm, DType::bf16), wavefront, rows = lstm;
  awd.model.tied = awd.model.locked = true;
  awd.model.weight_drop = 0.4;
  awd.model.ar = 2;
  awd.model.tar = 1;
  awd.model.H_last = 9;  // narrower than words: a projection before the head
  mixture = awd;
  mixture.model.mixtures = 3;
  noisy.model.zoneout_h = 0.2;
  noisy.model.dropout_recurrent = 0.3;
  normed.model.layer_norm = true;
  persistent.model.schedule = Schedule::persistent;
  persistent.model.weight_drop = 0.4;
  wavefront = persistent;
  wavefront.model.wavefront = Wavefront::on;
  rows.row_gradient = true;
  rows.rule = Rule::adagrad;
  rows.decay = 0;
  return {{"lstm", lstm},           {"awd", awd},       {"mixture", mixture},
          {"noisy_gru", noisy},     {"normed", normed}, {"persistent", persistent},
          {"wavefront", wavefront}, {"rows", rows}};
}

class SideBranchModel : public testing::TestWithParam<Case> {};

// Single chunks, and, where gradients may be added up, two chunks per update.
Trained train(SmallModel::Spec spec, bool side_branch, bool eager) {
  spec.side_branch = side_branch;
  SmallModel model(Device::cuda(), spec, eager);
  for (int step = 0; step < 2; ++step) {
    model.train(step);
    if (spec.row_gradient) continue;
    model.train(step, SmallModel::kT, true, false);
    model.train(step + 1, SmallModel::kT, false, true);
  }
  return Trained(model);
}

TEST_P(SideBranchModel, HasTheBitsOfTheRunInOrder) {
  const SmallModel::Spec& spec = GetParam().spec;
  const Trained in_order = train(spec, false, true);
  for (const Background background : kOrders)
    for (const bool eager : {true, false}) {
      gpu_on_cpu::set_background(background);
      EXPECT_TRUE(train(spec, true, eager) == in_order)
          << (background == Background::last ? "side last" : "side first")
          << (eager ? ", eager" : ", captured");
    }
}

// after[i]: the nodes that node i waits for, directly or not.
std::vector<std::vector<bool>> ancestors(const std::vector<GraphNode>& graph) {
  std::vector<std::vector<bool>> after(graph.size(), std::vector<bool>(graph.size()));
  for (size_t i = 0; i < graph.size(); ++i)
    for (const int before : graph[i].after) {
      after[i][size_t(before)] = true;
      for (size_t j = 0; j < i; ++j) after[i][j] = after[i][j] || after[size_t(before)][j];
    }
  return after;
}

TEST_P(SideBranchModel, IsASecondBranchOfTheGraph) {
  const auto captured = [](SmallModel::Spec spec, bool side_branch) {
    spec.side_branch = side_branch;
    SmallModel model(Device::cuda(), spec, false);
    for (int step = 0; step < 2; ++step) model.train(step);
    EXPECT_EQ(model.scheduler->graphs(), 1u);
    model.backend.stream().synchronize();
    return gpu_on_cpu::last_graph();
  };
  const std::vector<GraphNode> in_order = captured(GetParam().spec, false);
  const std::vector<GraphNode> graph = captured(GetParam().spec, true);
  EXPECT_EQ(graph.size(), in_order.size());
  for (const GraphNode& node : in_order) EXPECT_FALSE(node.background);
  const auto after = ancestors(graph);
  const size_t last = graph.size() - 1;
  int64_t aside = 0, beside = 0;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!graph[i].background) continue;
    ++aside;
    EXPECT_TRUE(after[last][i]) << "the update does not wait for node " << i;
    for (size_t j = 0; j < graph.size(); ++j)
      beside += !graph[j].background && !after[i][j] && !after[j][i];
  }
  // At least dW of the head, dR and dW of every layer; beside those of the upper one runs a pass of
  // the lower one.
  EXPECT_GE(aside, 1 + 2 * GetParam().spec.model.L);
  EXPECT_GT(beside, aside);
}

INSTANTIATE_TEST_SUITE_P(Models, SideBranchModel, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

// --- ops that no model has ----------------------------------------------------------------------

// All gradients of a bidirectional layer.
std::vector<double> bidirectional(bool side_branch, bool captured) {
  constexpr int kT = 5, kB = 3, kI = 9, kH = 13;
  const Backend backend(Device::cuda());
  ParamStore params;
  RecurrentParams sides[2];
  for (const int d : {0, 1}) {
    const std::string end = std::to_string(d);
    sides[d] = {params.add("W" + end, 4 * kH, kI, uniform(0.5)),
                params.add("R" + end, 4 * kH, kH, uniform(0.25)),
                params.add("b_W" + end, 4 * kH, 0, uniform(0.5)),
                params.add("b_R" + end, 4 * kH, 0, uniform(0.5))};
  }
  params.materialize(backend, DType::f32, 5);
  Arena arena(backend.device());
  arena.reserve(8 << 20);
  const State state(backend, std::vector<StateShape>(2, {kH, true}), kB, DType::f32);
  Array<1> keep(backend, DType::i32, {kB}), lengths(backend, DType::i32, {kB}),
      counter(backend, DType::u64, {2});
  keep.fill({1, 0, 1});
  lengths.fill({5, 2, 4});
  counter.fill({1, 2});
  const Tensor x(arena, DType::f32, {kT, kB, kI});
  write_rows(backend, x.matrix(), random_values(kT * kB * kI, DType::f32, 1));
  const auto chunk = [&] {
    Tape tape(backend.exec(), arena, params, Mode::training(), counter, false,
              side_branch ? backend.side() : nullptr);
    const Var in = tape.var(x);
    {
      const Var y = bidirectional_layer(tape, Cell::lstm, sides[0], sides[1], in, state[0],
                                        state[1], keep, lengths, {.weight_drop = 0.3});
      add_scaled(tape.exec(), {.y = tape.gradient_sink(y.slot()).view, .x = y.matrix()});
    }
    tape.backward();
  };
  if (captured)
    Graph::capture(backend.stream(), chunk).launch(backend.stream());
  else
    chunk();
  backend.stream().synchronize();
  const View1 slab = params.gradient_slab();
  return read_rows(backend, view_of(slab.data, slab.dtype, 1, slab.n[0]));
}

TEST(SideBranchLayers, BothDirectionsHaveTheBitsOfTheRunInOrder) {
  const std::vector<double> in_order = bidirectional(false, false);
  for (const Background background : kOrders)
    for (const bool captured : {false, true}) {
      gpu_on_cpu::set_background(background);
      EXPECT_EQ(bidirectional(true, captured), in_order);
    }
}

}  // namespace
}  // namespace unroll::test
