// recurrent_backward and recurrent_weight_gradients against the layer oracle, whose own gradients
// are first checked by complex step through the whole layer.
#include "tests/kernels/recurrent/complex_step.h"
#include "tests/kernels/recurrent/noise_case.h"

namespace unroll::test {
namespace {

using Wide = oracle::Layer<Complex>;

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
      const Wide wide = widened(layer);
      const auto expect_all = [&](const std::vector<double>& got,
                                  std::vector<Complex> Wide::*input) {
        for (size_t i = 0; i < got.size(); ++i)
          EXPECT_NEAR(got[i], layer_derivative(wide, dh, input, i), 1e-12);
      };
      expect_all(g.dWx, &Wide::Wx);
      expect_all(g.dR, &Wide::R);
      expect_all(g.db_W, &Wide::b_W);
      expect_all(g.db_R, &Wide::b_R);
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

UNROLL_ON_TARGETS(RecurrentBackwardTest);

}  // namespace
}  // namespace unroll::test
