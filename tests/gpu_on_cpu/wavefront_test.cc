// Two layers at once, a part of time apart, through the host code and the kernels executed on the
// CPU: the bits of one layer after the other, in fewer steps of more launches.
#include <gtest/gtest.h>

#include "host/device/graph.h"
#include "host/ops/linear.h"
#include "host/ops/recurrent_stack.h"
#include "host/ops/recurrent_wavefront.h"
#include "kernels/base/error.h"
#include "kernels/base/launch_count.h"
#include "kernels/elementwise/add.h"
#include "tests/gpu_on_cpu/rows.h"
#include "tests/gpu_on_cpu/small_model.h"

namespace unroll::test {
namespace {

constexpr int B = 3, H = 19;

struct Spec {
  Cell cell = Cell::lstm;
  DType act = DType::f32;
  int T = 7, I = 4;
  std::vector<int> widths = {H, H};
  double dropout = 0.4;
  LayerOptions layer{};
  bool residual = false;
  std::vector<double> lengths{};  // of the lanes; none: all are full
  bool evaluated = false;         // forward alone, without noise but for zoneout's mean
  bool captured = false;
};

std::ostream& operator<<(std::ostream& out, const Spec& s) {
  const LayerOptions& l = s.layer;
  return out << info_of(s.cell).name << " I " << s.I << " dropout " << s.dropout << " zoneout "
             << l.zoneout_h << " " << l.zoneout_c << " recurrent " << l.dropout_recurrent
             << (l.locked ? " locked" : "") << (s.residual ? " residual" : "")
             << (s.lengths.empty() ? "" : " lengths") << (s.evaluated ? " evaluated" : "");
}

// In parts of 7 steps a lane ends before, after or at a cut, of one layer or the other.
const std::vector<double> kLengths = {7, 4, 2};
constexpr LayerOptions kNoisy = {.zoneout_h = 0.3, .zoneout_c = 0.2, .dropout_recurrent = 0.3};
constexpr LayerOptions kNoisyLocked = {
    .weight_drop = 0.3, .zoneout_h = 0.3, .dropout_recurrent = 0.3, .locked = true};
const Spec kSpecs[] = {
    {.layer = {.weight_drop = 0.3}},
    {.cell = Cell::gru, .layer = {.weight_drop = 0.3, .locked = true}},
    {.layer = kNoisy, .lengths = kLengths},
    {.cell = Cell::gru, .layer = kNoisyLocked, .residual = true, .lengths = kLengths},
    {.I = H, .layer = kNoisy, .residual = true},
    {.cell = Cell::gru, .I = H, .dropout = 0, .residual = true, .lengths = kLengths},
    {.I = H, .layer = kNoisy, .residual = true, .lengths = kLengths, .evaluated = true},
};

struct Result {
  std::vector<double> y, dx, gradients, state;
  int64_t launches = 0;
  void expect_bits_of(const Result& other) const {
    EXPECT_EQ(y, other.y);
    EXPECT_EQ(state, other.state);
    EXPECT_EQ(dx, other.dx);
    EXPECT_EQ(gradients, other.gradients);
  }
};

void fill(const Backend& backend, const View2& v, int seed) {
  write_rows(backend, v, random_values(v.size(), DType::bf16, seed));
}

// What `run(tape, stack, x, state, keep, lengths)` makes of a chunk with carried-in states.
template <class Run>
Result result_of(const Device& device, const Spec& spec, Run run) {
  const Backend backend(device);
  ParamStore params;
  RecurrentStack stack;
  stack.cell = spec.cell;
  stack.dropout_hidden = spec.dropout;
  stack.layer = spec.layer;
  stack.layer.schedule = Schedule::persistent;
  stack.residual = spec.residual;
  std::vector<StateShape> shape;
  for (size_t l = 0; l < spec.widths.size(); ++l) {
    const int width = spec.widths[l], GH = info_of(spec.cell).gates * width;
    const std::string end = std::to_string(l);
    stack.layers.push_back(
        {params.add("W" + end, GH, l ? spec.widths[l - 1] : spec.I, uniform(0.5)),
         params.add("R" + end, GH, width, uniform(0.25)),
         params.add("b_W" + end, GH, 0, uniform(0.5)),
         params.add("b_R" + end, GH, 0, uniform(0.5))});
    shape.push_back({width, info_of(spec.cell).states == 2});
  }
  params.materialize(backend, spec.act, 5);
  Arena arena(device);
  arena.reserve(8 << 20);
  const State state(backend, shape, B, spec.act);
  for (size_t l = 0; l < shape.size(); ++l) {
    fill(backend, state[l].h, 10 + int(l));
    if (state[l].c) fill(backend, state[l].c, 20 + int(l));
  }
  Array<1> keep(backend, DType::i32, {B}), counter(backend, DType::u64, {2}),
      lengths(backend, DType::i32, {B});
  keep.fill({1, 0, 1});
  counter.fill({1, 2});
  if (!spec.lengths.empty()) lengths.fill(spec.lengths);
  const View1 ends = spec.lengths.empty() ? View1{} : lengths.view;
  const Mode mode = spec.evaluated ? Mode::evaluation() : Mode::training();
  const Tensor x(arena, spec.act, {spec.T, B, spec.I}),
      dy(arena, spec.act, {spec.T, B, spec.widths.back()});
  fill(backend, x.matrix(), 1);
  fill(backend, dy.matrix(), 2);
  Tensor y, dx;
  const auto chunk = [&] {
    Tape tape(backend.exec(), arena, params, mode, counter);
    const Var in = tape.var(x);
    {
      const Var out = run(tape, stack, in, state, keep.view, ends);
      y = out.value();
      if (spec.evaluated) return;
      add_scaled(tape.exec(), {.y = tape.gradient_sink(out.slot()).view, .x = dy.matrix()});
    }
    tape.backward();
    dx = in.slot()->gradient;
  };
  const uint64_t before = gpu::launch_count();
  if (spec.captured)
    Graph::capture(backend.stream(), chunk).launch(backend.stream());
  else
    chunk();
  Result result;
  result.launches = int64_t(gpu::launch_count() - before);
  backend.stream().synchronize();
  result.y = read_rows(backend, y.matrix());
  if (!spec.evaluated) result.dx = read_rows(backend, dx.matrix());
  for (size_t l = 0; l < shape.size(); ++l) {
    for (const View2& v : {state[l].h, state[l].c})
      if (v)
        for (double s : read_rows(backend, v)) result.state.push_back(s);
  }
  const View1 slab = params.gradient_slab();
  result.gradients = read_rows(backend, view_of(slab.data, slab.dtype, 1, slab.n[0]));
  return result;
}

Result in_order(const Device& device, const Spec& spec) {
  return result_of(device, spec, [&](Tape& tape, RecurrentStack stack, auto&&... rest) {
    stack.wavefront = Wavefront::off;
    if (device.kind() == DeviceKind::cpu) stack.layer.schedule = Schedule::automatic;
    return recurrent_stack(tape, stack, rest...);
  });
}
Result in_parts(const Spec& spec, int64_t parts) {
  return result_of(Device::cuda(), spec,
                   [&](Tape& tape, const RecurrentStack& stack, const Var& x, const State& state,
                       const View1& keep, const View1& lengths) {
                     const WavefrontResult both =
                         recurrent_wavefront(tape,
                                             {.cell = stack.cell,
                                              .lower = stack.layers[0],
                                              .upper = stack.layers[1],
                                              .dropout = stack.dropout_hidden,
                                              .residual = spec.residual && spec.I == H,
                                              .options = stack.layer,
                                              .parts = parts},
                                             x, state[0], state[1], keep, lengths);
                     return spec.residual ? add(tape, both.y, both.x_upper) : both.y;
                   });
}

class Wavefronts : public testing::TestWithParam<DType> {};

// T that the parts do not divide, and parts of one step.
TEST_P(Wavefronts, HaveTheBitsOfOneLayerAfterTheOther) {
  for (Spec spec : kSpecs) {
    SCOPED_TRACE(testing::Message() << spec);
    spec.act = GetParam();
    const Result expected = in_order(Device::cuda(), spec);
    for (const int64_t parts : {2, 3, 7}) {
      SCOPED_TRACE(parts);
      in_parts(spec, parts).expect_bits_of(expected);
    }
    spec.captured = true;
    in_parts(spec, 3).expect_bits_of(expected);
  }
}

TEST_P(Wavefronts, FollowTheCpu) {
  const Spec spec = {
      .act = GetParam(), .I = H, .layer = kNoisy, .residual = true, .lengths = kLengths};
  Spec f32 = spec;
  f32.act = DType::f32;
  const Result cpu = in_order(Device::cpu(1), f32), got = in_parts(spec, 3);
  const double limit = tolerance({DeviceKind::cuda, GetParam()});
  expect_close(got.y, cpu.y, limit, "y");
  expect_close(got.state, cpu.state, limit, "states");
  expect_close(got.dx, cpu.dx, 2 * limit, "dx");
  expect_close(got.gradients, cpu.gradients, 2 * limit, "gradients");
}

INSTANTIATE_TEST_SUITE_P(Types, Wavefronts, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return unroll::name_of(info.param); });

// A stack with --wavefront and a change of its own.
template <class Change>
Result stacked(const Device& device, const Spec& spec, Wavefront wavefront, Change change) {
  return result_of(device, spec, [&](Tape& tape, RecurrentStack stack, auto&&... rest) {
    stack.wavefront = wavefront;
    change(stack);
    return recurrent_stack(tape, stack, rest...);
  });
}
constexpr auto kAsItIs = [](RecurrentStack&) {};

// A stack pairs its equal layers from below; the third is narrower, and runs alone.
TEST(WavefrontStack, PairsEqualLayersAndCountsLaunches) {
  const Spec spec = {.widths = {H, H, 7}};
  const Result off = stacked(Device::cuda(), spec, Wavefront::off, kAsItIs);
  const Result on = stacked(Device::cuda(), spec, Wavefront::on, kAsItIs);
  on.expect_bits_of(off);
  // In two parts, either pass is three launches and as many fillings of the exchange, instead of
  // two each, and dropout between the layers is two launches instead of one.
  EXPECT_EQ(on.launches - off.launches, 2 * (2 * (3 - 2) + 1));
  // In so short a chunk it does not pay.
  EXPECT_EQ(stacked(Device::cuda(), spec, Wavefront::automatic, kAsItIs).launches, off.launches);
}

// The third layer runs alone, after the sum that follows the second.
TEST(WavefrontStack, HasNoiseLengthsAndSumsAsInOrder) {
  for (const DType act : {DType::f32, DType::bf16}) {
    const Spec spec = {
        .act = act, .widths = {H, H, H}, .layer = kNoisy, .residual = true, .lengths = kLengths};
    const Result off = stacked(Device::cuda(), spec, Wavefront::off, kAsItIs);
    const Result on = stacked(Device::cuda(), spec, Wavefront::on, kAsItIs);
    on.expect_bits_of(off);
    EXPECT_GT(on.launches, off.launches);
  }
}

TEST(WavefrontStack, RefusesWhatCannotRun) {
  const auto refusal = [](const Device& device, const Spec& spec, auto change) -> std::string {
    try {
      stacked(device, spec, Wavefront::on, change);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::usage);
      return e.what();
    }
    return "";
  };
  const auto expect = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  expect(refusal(Device::cuda(), {}, [](auto& s) { s.layer.schedule = Schedule::step; }),
         "the schedule is step");
  expect(refusal(Device::cuda(), {}, [](auto& s) { s.layers[0].g_R = s.layers[0].b_R; }),
         "layer normalisation");
  expect(refusal(Device::cuda(), {.widths = {H, 7}}, kAsItIs), "of the same width");
  expect(refusal(Device::cpu(1), {}, [](auto& s) { s.layer.schedule = Schedule::automatic; }),
         "the CPU runs one layer after the other");
  // One step has no parts.
  stacked(Device::cuda(), {.T = 1}, Wavefront::on, kAsItIs);
}

// Through the arena's measuring run and captured programs, as training has it.
TEST(WavefrontModel, TrainsAsInOrderEagerAndCaptured) {
  const auto train = [](Wavefront wavefront, bool eager) {
    SmallModel::Spec spec = SmallModel::spec(Cell::lstm, DType::bf16);
    spec.model.L = 3;
    spec.model.H_last = 9;
    spec.model.locked = true;
    spec.model.weight_drop = 0.4;
    spec.model.schedule = Schedule::persistent;
    spec.model.wavefront = wavefront;
    SmallModel model(Device::cuda(), spec, eager);
    for (int step = 0; step < 4; ++step) model.train(step);
    return Trained(model);
  };
  const Trained in_order = train(Wavefront::off, true);
  EXPECT_TRUE(train(Wavefront::on, true) == in_order);
  EXPECT_TRUE(train(Wavefront::on, false) == in_order);
}

}  // namespace
}  // namespace unroll::test
