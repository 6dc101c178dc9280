// Resets, zoneout and recurrent dropout inside the loop, in every schedule, against the layer
// oracle.
#include "kernels/base/error.h"
#include "tests/kernels/recurrent/noise_case.h"

namespace unroll::test {
namespace {

class LoopNoiseTest : public RecurrentTest {
 protected:
  // Calls body(layer, arrays) for every schedule, cell and case.
  template <class Body>
  void for_all_noise(const Body& body) {
    for (const Schedule schedule : schedules(GetParam())) {
      for (const Cell cell : oracle::kAllCells)
        for (const NoiseCase& n : kNoiseCases) {
          SCOPED_TRACE(testing::Message()
                       << info_of(cell).name << " " << name_of(schedule) << " " << n);
          oracle::Layer<double> layer = noisy_layer(cell, n, GetParam());
          NoisyArrays arrays(backend(), layer, n, GetParam(), schedule);
          body(layer, arrays);
        }
    }
  }
};

TEST_P(LoopNoiseTest, EqualsOracle) {
  for_all_noise([&](oracle::Layer<double>& layer, NoisyArrays& arrays) {
    const auto dh = random_values(arrays.T * arrays.B * arrays.H, act(), 9);
    arrays.dh.fill(dh);
    recurrent_forward(exec(), arrays.forward_args());
    recurrent_backward(exec(), arrays.backward_args());
    recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
    synchronize();
    layer.forward();
    const oracle::LayerGradient expected = oracle::gradient(layer, dh);
    const double limit = tolerance(GetParam());
    expect_close(arrays.h.read(), layer.h, limit, "h");
    if (arrays.two_states) expect_close(arrays.c.read(), layer.c, limit, "c");
    expect_close(arrays.dWx.read(), expected.dWx, limit, "dWx");
    if (arrays.split) expect_close(arrays.dRh.read(), expected.dRh, limit, "dRh");
    const double magnitude =
        act() == DType::bf16 ? terms_magnitude(expected.dWx, size_t(arrays.GH), layer.h) : 0;
    expect_close(arrays.dR.read(), expected.dR, limit, "dR", magnitude);
    for (Array<3>* a : {&arrays.h, &arrays.c, &arrays.saved, &arrays.h_in, &arrays.fresh})
      EXPECT_TRUE(a->padding_untouched());
  });
}

// What R multiplied: zero exactly where the bits say so, whatever the device and the schedule.
TEST_P(LoopNoiseTest, BitsAreThoseOfTheHeader) {
  for_all_noise([&](oracle::Layer<double>& layer, NoisyArrays& arrays) {
    const RecurrentForward args = arrays.forward_args(/*save=*/false);
    recurrent_forward(exec(), args);
    synchronize();
    for (unsigned char byte : arrays.fresh.bytes()) ASSERT_EQ(byte, 0xff) << "fresh was written";
    if (!args.noise.masks_h()) return;
    const std::vector<double> h = arrays.h.read(), h_in = arrays.h_in.read();
    for (int t = 0; t < layer.T_; ++t)
      for (int b = 0; b < layer.B; ++b)
        for (int u = 0; u < layer.H; ++u) {
          const size_t i = layer.state(t, b, u);
          const double m = layer.starts(t, b) ? 0 : layer.passed[i];
          const double h_tm1 = h[layer.before(t, b, u)];
          ASSERT_NEAR(h_in[i], m * h_tm1, 1e-2 * std::abs(h_tm1)) << t << " " << b << " " << u;
          ASSERT_EQ(h_in[i] == 0, m == 0 || h_tm1 == 0) << t << " " << b << " " << u;
        }
  });
}

TEST_P(LoopNoiseTest, TwiceGivesTheSameBits) {
  for_all_noise([&](oracle::Layer<double>&, NoisyArrays& arrays) {
    arrays.dh.fill(random_values(arrays.T * arrays.B * arrays.H, act(), 9));
    const auto backward = [&] {
      recurrent_backward(exec(), arrays.backward_args());
      recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
      synchronize();
      std::vector<std::vector<unsigned char>> bytes;
      for (Array<3>* a : {&arrays.h, &arrays.c, &arrays.saved, &arrays.h_in, &arrays.fresh,
                          &arrays.dWx, &arrays.dRh})
        bytes.push_back(a->bytes());
      bytes.push_back(arrays.dR.bytes());
      return bytes;
    };
    recurrent_forward(exec(), arrays.forward_args());
    const auto first = backward();
    EXPECT_EQ(first, backward()) << "the same saved values";
    recurrent_forward(exec(), arrays.forward_args());
    EXPECT_EQ(first, backward()) << "the same key";
  });
}

// A lane that starts anew owes nothing to the sequence before, not even a NaN.
TEST_P(LoopNoiseTest, ResetForgetsNan) {
  const NoiseCase n = {{3, 2, 5, false, false, true, true, 0}, 0, 0, 0, false, false, true};
  for (const Schedule schedule : schedules(GetParam())) {
    for (const Cell cell : oracle::kAllCells) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << name_of(schedule));
      oracle::Layer<double> layer = noisy_layer(cell, n, GetParam());
      layer.resets = {1, 0, 0, 0, 0, 0};
      for (int u = 0; u < n.layer.H; ++u) layer.h[size_t(u)] = layer.c[size_t(u)] = NAN;
      NoisyArrays arrays(backend(), layer, n, GetParam(), schedule);
      arrays.dh.fill(1);
      recurrent_forward(exec(), arrays.forward_args());
      recurrent_backward(exec(), arrays.backward_args());
      recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
      synchronize();
      for (double x : arrays.dWx.read()) ASSERT_TRUE(std::isfinite(x));
      for (double x : arrays.dR.read()) ASSERT_TRUE(std::isfinite(x));
      const std::vector<double> h = arrays.h.read();
      for (size_t i = size_t(arrays.B * arrays.H); i < h.size(); ++i)
        ASSERT_TRUE(std::isfinite(h[i]));
    }
  }
}

TEST_P(LoopNoiseTest, WhatDoesNotFitIsAnError) {
  const auto error_of = [&](const auto& op, const auto& args) -> std::string {
    try {
      op(exec(), args);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const NoiseCase& n = kNoiseCases[4];
  const oracle::Layer<double> layer = noisy_layer(Cell::lstm, n, GetParam());
  NoisyArrays arrays(backend(), layer, n, GetParam());
  RecurrentForward f = arrays.forward_args();
  f.noise.zoneout_h = 1;
  EXPECT_EQ(error_of(recurrent_forward, f),
            "recurrent_forward: noise.zoneout_h is 1.000000, expected 0 <= rate < 1");
  f = arrays.forward_args();
  f.h_in = {};
  EXPECT_EQ(error_of(recurrent_forward, f).find("recurrent_forward: h_in is missing"), 0u);
  f = arrays.forward_args();
  f.noise.key = {};
  EXPECT_EQ(error_of(recurrent_forward, f).find("recurrent_forward: noise.key.counter is missing"),
            0u);
  f = arrays.forward_args();
  f.noise.resets = f.noise.resets.slice(0, 1);
  EXPECT_EQ(error_of(recurrent_forward, f),
            "recurrent_forward: noise.resets is [1,4] i32, expected [T,B] = [5,4] i32");
  RecurrentBackward b = arrays.backward_args();
  b.fresh = {};
  EXPECT_EQ(error_of(recurrent_backward, b).find("recurrent_backward: fresh is missing"), 0u);
  const oracle::Layer<double> gru = noisy_layer(Cell::gru, n, GetParam());
  NoisyArrays of_gru(backend(), gru, n, GetParam());
  f = of_gru.forward_args();
  f.noise.zoneout_c = 0.5;
  EXPECT_EQ(
      error_of(recurrent_forward, f),
      "recurrent_forward: noise.zoneout_c is given, and a cell of gru has no c; leave it out");
}

UNROLL_ON_TARGETS(LoopNoiseTest);

}  // namespace
}  // namespace unroll::test
