// Both directions of a layer through the host code and the kernels executed on the CPU: as on the
// CPU backend, and in the persistent schedule one launch each way.
#include <gtest/gtest.h>

#include "host/ops/recurrent_stack.h"
#include "host/train/state.h"
#include "kernels/base/launch_count.h"
#include "tests/gpu_on_cpu/rows.h"

namespace unroll::test {
namespace {

constexpr int T = 5, B = 3, I = 4, H = 19;

struct Result {
  std::vector<double> y, dx, gradients;
  int64_t launches;
};

Result run(const Device& device, DType act, Cell cell, Schedule schedule) {
  const Backend backend(device);
  ParamStore params;
  RecurrentParams sides[2];
  for (int d = 0; d < 2; ++d) {
    const std::string end = d == 0 ? "" : "_reverse";
    const int GH = info_of(cell).gates * H;
    sides[d].W = params.add("W" + end, GH, I, uniform(0.5));
    sides[d].R = params.add("R" + end, GH, H, uniform(0.25));
    sides[d].b_W = params.add("b_W" + end, GH, 0, uniform(0.5));
    sides[d].b_R = params.add("b_R" + end, GH, 0, uniform(0.5));
  }
  params.materialize(backend, act, 5);
  Arena arena(device);
  arena.reserve(8 << 20);
  const State state(backend, std::vector<StateShape>(2, {H, info_of(cell).states == 2}), B, act);
  Array<1> keep(backend, DType::i32, {B}), lengths(backend, DType::i32, {B});
  keep.fill({1, 0, 1});
  lengths.fill({5, 2, 4});
  Array<1> counter(backend, DType::u64, {2});
  counter.fill({1, 2});
  const uint64_t before = gpu::launch_count();
  Tape tape(backend.exec(), arena, params, Mode::training(), counter);
  Result result;
  {
    const Var x = tape.var(tape.tensor(act, {T, B, I}));
    write_rows(backend, x.matrix(), random_values(T * B * I, DType::bf16, 1));
    {
      const Var y = bidirectional_layer(tape, cell, sides[0], sides[1], x, state[0], state[1], keep,
                                        lengths, {.schedule = schedule});
      write_rows(backend, tape.gradient_sink(y.slot()).view,
                 random_values(T * B * 2 * H, DType::bf16, 2));
      result.y = read_rows(backend, y.matrix());
    }
    tape.backward();
    result.dx = read_rows(backend, x.slot()->gradient.matrix());
  }
  result.launches = int64_t(gpu::launch_count() - before);
  const View1 slab = params.gradient_slab();
  result.gradients = read_rows(backend, view_of(slab.data, slab.dtype, 1, slab.n[0]));
  return result;
}

class BidirectionalLayer : public testing::TestWithParam<DType> {};

TEST_P(BidirectionalLayer, FollowsTheCpuInOneLaunchEachWay) {
  const DType act = GetParam();
  const double limit = tolerance({DeviceKind::cuda, act});
  for (const Cell cell : {Cell::lstm, Cell::gru}) {
    SCOPED_TRACE(info_of(cell).name);
    const Result cpu = run(Device::cpu(1), DType::f32, cell, Schedule::automatic);
    const Result step = run(Device::cuda(), act, cell, Schedule::step);
    const Result persistent = run(Device::cuda(), act, cell, Schedule::persistent);
    for (const Result* r : {&step, &persistent}) {
      expect_close(r->y, cpu.y, limit, "y");
      expect_close(r->dx, cpu.dx, 2 * limit, "dx");
      expect_close(r->gradients, cpu.gradients, 2 * limit, "gradients");
    }
    // Each pass of a direction in steps is T + 2 launches; both directions at once are 2.
    EXPECT_EQ(step.launches - persistent.launches, 2 * 2 * (T + 2) - 2 * 2);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, BidirectionalLayer, testing::Values(DType::f32, DType::bf16),
                         [](const auto& info) { return unroll::name_of(info.param); });

}  // namespace
}  // namespace unroll::test
