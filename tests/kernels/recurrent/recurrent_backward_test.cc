// recurrent_backward and recurrent_weight_gradients against the layer oracle, whose own gradients
// are first checked by complex step through the whole layer.
#if defined(UNROLL_WITH_CUDA)
#include "kernels/recurrent/persistent_cuda.h"
#endif
#include "tests/kernels/recurrent/noise_case.h"

namespace unroll::test {
namespace {

using Z = std::complex<double>;

// The derivative of sum(dh . outputs) by one input, through time.
double layer_derivative(const oracle::Layer<double>& a, const std::vector<double>& dh,
                        std::vector<Z> oracle::Layer<Z>::*input, size_t at) {
  constexpr double kStep = 1e-100;
  const auto widen = [](const std::vector<double>& v) {
    return std::vector<Z>(v.begin(), v.end());
  };
  oracle::Layer<Z> z{.cell = a.cell,
                     .T_ = a.T_,
                     .B = a.B,
                     .H = a.H,
                     .reverse = a.reverse,
                     .lengths = a.lengths,
                     .Wx = widen(a.Wx),
                     .R = widen(a.R),
                     .b_W = widen(a.b_W),
                     .b_R = widen(a.b_R),
                     .h = widen(a.h),
                     .c = widen(a.c),
                     .kept_h = a.kept_h,
                     .kept_c = a.kept_c,
                     .passed = a.passed,
                     .resets = a.resets};
  (z.*input)[at] += Z(0, kStep);
  z.forward();
  double sum = 0;
  const size_t first = a.reverse ? 0 : size_t(a.B * a.H);
  for (size_t i = 0; i < dh.size(); ++i) sum += dh[i] * z.h[first + i].imag();
  return sum / kStep;
}

TEST(RecurrentOracle, GradientEqualsComplexStepThroughTime) {
  constexpr NoiseCase kCases[] = {
      {{3, 2, 4, false, false, true, true, 0}, 0, 0, 0, false, false, false},
      {{4, 3, 3, true, true, true, true, 0}, 0, 0, 0, false, false, false},
      {{4, 3, 3, true, true, true, true, 0}, 0.4, 0.5, 0.3, false, false, true},
      {{4, 2, 3, false, false, true, true, 0}, 0.4, 0.5, 0, false, true, true},
  };
  for (Cell cell : oracle::kAllCells)
    for (const NoiseCase& n : kCases) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << n);
      const RecurrentCase& c = n.layer;
      oracle::Layer<double> layer = noisy_layer(cell, n, {DeviceKind::cpu, DType::f64});
      layer.forward();
      const auto dh = random_values(int64_t(c.T) * c.B * c.H, DType::f64, 9);
      const oracle::LayerGradient g = oracle::gradient(layer, dh);
      const auto expect_all = [&](const std::vector<double>& got,
                                  std::vector<Z> oracle::Layer<Z>::*input) {
        for (size_t i = 0; i < got.size(); ++i)
          EXPECT_NEAR(got[i], layer_derivative(layer, dh, input, i), 1e-12);
      };
      expect_all(g.dWx, &oracle::Layer<Z>::Wx);
      expect_all(g.dR, &oracle::Layer<Z>::R);
      expect_all(g.db_W, &oracle::Layer<Z>::b_W);
      expect_all(g.db_R, &oracle::Layer<Z>::b_R);
    }
}

class RecurrentBackwardTest : public RecurrentTest {
 protected:
  // The oracle's layer and the device's arrays, both after forward, and a gradient of the outputs.
  struct Ran {
    oracle::Layer<double> layer;
    std::optional<RecurrentArrays> arrays;
    oracle::LayerGradient expected;
    double magnitude = 0;  // of the terms of dR, db_W and db_R
  };
  std::unique_ptr<Ran> after_forward(Cell cell, const RecurrentCase& c, Schedule schedule) {
    auto ran = std::make_unique<Ran>();
    ran->layer = random_layer(cell, c, GetParam());
    ran->arrays.emplace(backend(), ran->layer, GetParam(), c.pad, schedule);
    const auto dh = random_values(int64_t(c.T) * c.B * c.H, act(), 9);
    ran->arrays->dh.fill(dh);
    recurrent_forward(exec(), ran->arrays->forward_args());
    // Backward is not told of these, so it may not need them.
    synchronize();
    ran->arrays->Wx.fill(NAN);
    ran->layer.forward();
    ran->expected = oracle::gradient(ran->layer, dh);
    const size_t rows = size_t(info_of(cell).gates) * size_t(c.H);
    // Only bf16 terms are rounded one by one; sums in f32 and f64 keep the strict bound.
    if (act() == DType::bf16)
      ran->magnitude = terms_magnitude(ran->expected.dWx, rows, ran->layer.h);
    return ran;
  }
};

TEST_P(RecurrentBackwardTest, EqualsOracle) {
  for_all([&](Cell cell, const RecurrentCase& c, Schedule schedule) {
    const auto ran = after_forward(cell, c, schedule);
    RecurrentArrays& arrays = *ran->arrays;
    recurrent_backward(exec(), arrays.backward_args());
    recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
    synchronize();
    const double limit = tolerance(GetParam());
    // One rounding of what backward reads and writes, not sums of rounded terms.
    const double narrow = act() == DType::bf16 ? 5e-3 : limit;
    expect_close(arrays.dWx.read(), ran->expected.dWx, narrow, "dWx");
    if (arrays.split) expect_close(arrays.dRh.read(), ran->expected.dRh, narrow, "dRh");
    expect_close(arrays.dR.read(), ran->expected.dR, limit, "dR", ran->magnitude);
    if (c.with_b_W)
      expect_close(arrays.db_W.read(), ran->expected.db_W, limit, "db_W", ran->magnitude);
    if (c.with_b_R)
      expect_close(arrays.db_R.read(), ran->expected.db_R, limit, "db_R", ran->magnitude);
    for (Array<3>* a : {&arrays.dWx, &arrays.dRh, &arrays.h, &arrays.c, &arrays.saved})
      EXPECT_TRUE(a->padding_untouched());
    EXPECT_TRUE(arrays.dR.padding_untouched());
  });
}

// Where gates are near 0 or 1, what is left of their slopes has few digits: LSTM's forget gate and
// GRU's update gate remember.
TEST_P(RecurrentBackwardTest, SaturatedGatesKeepTheirSlopes) {
  if (act() != DType::bf16) return;
  const RecurrentCase c = {5, 3, 19, false, false, true, false, 0};
  for (const Schedule schedule : schedules(GetParam()))
    for (const Cell cell : {Cell::lstm, Cell::gru}) {
      oracle::Layer<double> layer = random_layer(cell, c, GetParam());
      for (int u = 0; u < c.H; ++u) layer.b_W[size_t(c.H + u)] += 4;
      const auto dh = random_values(int64_t(c.T) * c.B * c.H, act(), 9);
      RecurrentArrays arrays(backend(), layer, GetParam(), c.pad, schedule);
      arrays.dh.fill(dh);
      recurrent_forward(exec(), arrays.forward_args());
      recurrent_backward(exec(), arrays.backward_args());
      synchronize();
      layer.forward();
      const std::vector<double> got = arrays.dWx.read(), expected = oracle::gradient(layer, dh).dWx;
      double error = 0, norm = 0;
      for (int t = 0; t < c.T; ++t)
        for (int b = 0; b < c.B; ++b)
          for (int u = 0; u < c.H; ++u) {
            const size_t at = layer.gate(t, b, 1, u);
            error += std::pow(got[at] - expected[at], 2);
            norm += std::pow(expected[at], 2);
          }
      EXPECT_LE(std::sqrt(error / norm), tolerance(GetParam()))
          << info_of(cell).name << " " << name_of(schedule);
    }
}

TEST_P(RecurrentBackwardTest, AddsToGradients) {
  for_large([&](Cell cell, const RecurrentCase& c, Schedule schedule) {
    const auto ran = after_forward(cell, c, schedule);
    RecurrentArrays& arrays = *ran->arrays;
    arrays.dR.fill(1);
    arrays.db_W.fill(1);
    arrays.db_R.fill(1);
    recurrent_backward(exec(), arrays.backward_args());
    recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::add));
    synchronize();
    for (std::vector<double>* g : {&ran->expected.dR, &ran->expected.db_W, &ran->expected.db_R})
      for (double& x : *g) x += 1;
    const double limit = tolerance(GetParam());
    expect_close(arrays.dR.read(), ran->expected.dR, limit, "dR", ran->magnitude);
    if (c.with_b_W)
      expect_close(arrays.db_W.read(), ran->expected.db_W, limit, "db_W", ran->magnitude);
    if (c.with_b_R)
      expect_close(arrays.db_R.read(), ran->expected.db_R, limit, "db_R", ran->magnitude);
  });
}

TEST_P(RecurrentBackwardTest, TwiceGivesTheSameBits) {
  for_large([&](Cell cell, const RecurrentCase& c, Schedule schedule) {
    const auto ran = after_forward(cell, c, schedule);
    RecurrentArrays& arrays = *ran->arrays;
    const auto run = [&] {
      recurrent_backward(exec(), arrays.backward_args());
      recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
      synchronize();
      std::vector<std::vector<unsigned char>> bytes;
      for (Array<3>* a :
           {&arrays.dWx, &arrays.dRh, &arrays.h, &arrays.c, &arrays.saved, &arrays.dh})
        bytes.push_back(a->bytes());
      bytes.push_back(arrays.dR.bytes());
      bytes.push_back(arrays.db_W.bytes());
      bytes.push_back(arrays.db_R.bytes());
      return bytes;
    };
    const auto states_before = arrays.h.bytes();
    const auto first = run();
    EXPECT_EQ(first, run());
    EXPECT_EQ(arrays.h.bytes(), states_before) << "backward changed h";
  });
}

#if defined(UNROLL_WITH_CUDA) && !defined(UNROLL_GPU_ON_CPU)
// The sizes of published models and their neighbours, which only a GPU computes quickly, each with
// two of the cells: the oracle takes seconds. Over many steps rounding grows as the layer makes it
// grow, whatever the schedule: there the alternating one is the measure.
TEST_P(RecurrentBackwardTest, LargeSizesOnAGpu) {
  if (GetParam().device != DeviceKind::cuda) return;
  constexpr RecurrentCase kLarge[] = {
      {2, 9, 1500, false, true, true, true, 0},  {3, 20, 1150, true, false, true, false, 0},
      {3, 65, 650, false, true, true, true, 3},  {70, 8, 129, true, true, false, true, 0},
      {513, 3, 33, false, false, true, true, 0}, {2, 64, 127, true, false, true, true, 1},
      {70, 1, 128, false, true, true, true, 8},  {513, 9, 7, true, true, true, true, 0},
  };
  constexpr Cell kCells[][2] = {
      {Cell::lstm, Cell::tanh}, {Cell::lstm, Cell::gru}, {Cell::gru, Cell::relu}};
  for (size_t i = 0; i < std::size(kLarge); ++i)
    for (const Cell cell : kCells[i % std::size(kCells)]) {
      const RecurrentCase& c = kLarge[i];
      oracle::Layer<double> layer = random_layer(cell, c, GetParam());
      const auto dh = random_values(int64_t(c.T) * c.B * c.H, act(), 9);
      layer.forward();
      const oracle::LayerGradient expected = oracle::gradient(layer, dh);
      double alternating = 0;
      for (const Schedule schedule : schedules(GetParam())) {
        // In f32 the largest matrices do not fit the chip; in bf16 all of them do.
        if (schedule == Schedule::persistent) {
          const auto why = cuda::persistent_obstacle(exec(), cell, act(), c.T, c.B, c.H);
          if (act() == DType::f32 && c.H > 1000 && !why.empty()) continue;
        }
        RecurrentArrays arrays(backend(), layer, GetParam(), c.pad, schedule);
        arrays.dh.fill(dh);
        recurrent_forward(exec(), arrays.forward_args());
        recurrent_backward(exec(), arrays.backward_args());
        synchronize();
        const double e = std::max(relative_error(arrays.h.read(), layer.h),
                                  relative_error(arrays.dWx.read(), expected.dWx));
        ASSERT_TRUE(std::isfinite(e));
        if (schedule == Schedule::alternating) alternating = e;
        EXPECT_LE(e, std::max(tolerance(GetParam()), 1.5 * alternating))
            << info_of(cell).name << " " << name_of(schedule) << " " << c;
      }
    }
}
#endif

UNROLL_ON_TARGETS(RecurrentBackwardTest);

}  // namespace
}  // namespace unroll::test
