// The fused step where its own structure matters: more lanes than a block has, more of K than its
// ring holds, TF32, NaN.
#include "kernels/recurrent/step_cuda.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

class StepTest : public RecurrentTest {
 protected:
  // Forward and backward of one layer against its oracle.
  void expect_oracle(const Target& target, Cell cell, const RecurrentCase& c) {
    SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << c);
    const Backend backend(Device::cuda(), target.matmul);
    oracle::Layer<double> layer = random_layer(cell, c, target);
    RecurrentArrays arrays(backend, layer, target, c.pad, Schedule::step);
    const auto dh = random_values(int64_t(c.T) * c.B * c.H, target.act, 9);
    arrays.dh.fill(dh);
    recurrent_forward(backend.exec(), arrays.forward_args());
    recurrent_backward(backend.exec(), arrays.backward_args());
    backend.stream().synchronize();
    layer.forward();
    const oracle::LayerGradient expected = oracle::gradient(layer, dh);
    expect_close(arrays.h.read(), layer.h, tolerance(target), "h");
    expect_close(arrays.dWx.read(), expected.dWx, tolerance(target), "dWx");
  }
};

TEST_P(StepTest, ManyLanesAndALongRow) {
  if (GetParam().device != DeviceKind::cuda) return;
  expect_oracle(GetParam(), Cell::gru, {2, 41, 17, false, true, true, true, 1});
  // Forward 17 or 9 pairs of k-tiles, backward 66 or 33: beyond two and four for each warp.
  expect_oracle(GetParam(), Cell::lstm, {2, 2, 264, false, false, true, false, 0});
}

TEST_P(StepTest, Tf32) {
  if (GetParam().device != DeviceKind::cuda || act() != DType::f32) return;
  const Target tf32 = {DeviceKind::cuda, DType::f32, MatmulMode::tf32};
  for (const Cell cell : {Cell::lstm, Cell::gru})
    expect_oracle(tf32, cell, {3, 5, 37, cell == Cell::gru, true, true, true, 3});
}

// A lane that is not a number stays one, and leaves the others alone.
TEST_P(StepTest, NanOfOneLane) {
  if (GetParam().device != DeviceKind::cuda) return;
  const RecurrentCase c = {3, 3, 19, false, false, true, true, 0};
  oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  layer.h[size_t(c.H) + 4] = NAN;  // of lane 1
  RecurrentArrays arrays(backend(), layer, GetParam(), 0, Schedule::step);
  recurrent_forward(exec(), arrays.forward_args());
  synchronize();
  const std::vector<double> h = arrays.h.read();
  for (int t = 1; t <= c.T; ++t)
    for (int b = 0; b < c.B; ++b)
      for (int u = 0; u < c.H; ++u)
        EXPECT_EQ(std::isnan(h[size_t((t * c.B + b) * c.H + u)]), b == 1) << t << " " << b;
}

UNROLL_ON_TARGETS(StepTest);

}  // namespace
}  // namespace unroll::test
