// Ten training steps of tiny models, all four cells, and with layer normalisation, against PyTorch
// in float64: every gradient of step 1, every loss, every weight after step 10. See
// tests/golden/make_torch_lm.py.
#include <gtest/gtest.h>

#include "tests/harness/golden.h"
#include "tests/harness/tolerances.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

constexpr int V = 7, E = 3, H = 4, L = 2, T = 5, B = 3, kSteps = 10;
constexpr double kTolerance = 1e-9;

int32_t token(int64_t b, int64_t n) { return golden_token(b, n, V); }

class GoldenTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenTest, TenStepsEqualPyTorch) {
  const Golden g =
      read_golden(UNROLL_GOLDEN_DIR "/torch_lm_" + GetParam() + ".txt", GoldenSettings::one_line);
  std::istringstream words(g.settings);
  std::string cell, loss, optimizer;
  double lr, clip;
  words >> cell >> loss >> optimizer >> lr >> clip;
  RnnLm::Config config;
  config.cell = cell_of(cell);
  config.layer_norm = GetParam().ends_with("_layer_norm");
  config.V = V;
  config.E = E;
  config.H = H;
  config.L = L;
  OptimizerSettings settings;
  if (optimizer == "adam") settings.rule = OptimizerSettings::Rule::adam;
  TinyLm lm(config, T, B, settings);
  lm.set_formula_weights();
  for (int step = 0; step < kSteps; ++step) {
    StepScalars scalars;
    scalars.update = {lr, clip};
    scalars.weight = 1.0 / (loss == "sum_time" ? B : B * T);
    lm.scheduler->train(make_chunk(T, B, int64_t(step) * T, token), lm.state, scalars);
    const std::vector<StepFigures> figures = lm.scheduler->take_figures();
    ASSERT_EQ(figures.size(), 1u);
    EXPECT_EQ(figures[0].tokens, T * B);
    expect_close({figures[0].nats}, g.at("loss " + std::to_string(step)), kTolerance,
                 "loss of step " + std::to_string(step));
    if (step == 0)
      for (size_t i = 0; i < lm.params.entries().size(); ++i) {
        const std::string& name = lm.params.entries()[i].name;
        expect_close(lm.gradient(int(i)), g.at("gradient " + name), kTolerance,
                     "gradient of " + name);
      }
  }
  for (size_t i = 0; i < lm.params.entries().size(); ++i) {
    const std::string& name = lm.params.entries()[i].name;
    expect_close(lm.read(int(i)), g.at("value " + name), kTolerance, name);
    // Otherwise the comparison would pass without any training.
    TinyLm fresh(config, T, B);
    fresh.set_formula_weights();
    EXPECT_GT(relative_error(lm.read(int(i)), fresh.read(int(i))), 1e-4) << name << " did not move";
  }
}

INSTANTIATE_TEST_SUITE_P(Cells, GoldenTest,
                         testing::Values("lstm", "gru", "tanh", "relu", "lstm_layer_norm",
                                         "gru_layer_norm", "tanh_layer_norm"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace unroll::test
