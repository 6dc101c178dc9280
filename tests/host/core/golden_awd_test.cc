// Ten training steps of regularised models against PyTorch in float64, all masks drawn twice: every
// gradient of step 1, every loss, every weight after step 10. Weight drop, locked and embedding
// dropout, activation penalties, tied weights over unequal widths, a mixture of softmaxes, clipping
// and weight decay; NT-ASGD with its trigger, and the mean in validation and after step 10. See
// tests/golden/make_torch_awd.py.
#include <gtest/gtest.h>

#include "host/optim/nonmonotone.h"
#include "tests/harness/golden.h"
#include "tests/harness/tolerances.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

constexpr int V = 7, T = 5, B = 3, kSteps = 10;
constexpr double kTolerance = 1e-9;

int32_t token(int64_t b, int64_t n) { return golden_token(b, n, V); }

class GoldenAwdTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldenAwdTest, TenStepsEqualPyTorch) {
  const Golden g =
      read_golden(UNROLL_GOLDEN_DIR "/torch_awd_" + GetParam() + ".txt", GoldenSettings::one_line);
  std::map<std::string, double> settings_of;
  std::istringstream pairs(g.settings);
  std::string key;
  for (double value; pairs >> key >> value;) settings_of[key] = value;
  const auto setting = [&](const char* name) { return settings_of.at(name); };
  RnnLm::Config config;
  config.V = V;
  config.E = int(setting("E"));
  config.H = int(setting("H"));
  config.L = int(setting("L"));
  config.H_last = int(setting("H_last"));
  config.mixtures = int(setting("K"));
  config.tied = config.locked = true;
  config.dropout_embedding = setting("dropout_embedding");
  config.dropout_input = setting("dropout_input");
  config.dropout_hidden = setting("dropout_hidden");
  config.dropout_output = setting("dropout_output");
  config.dropout_latent = setting("dropout_latent");
  config.weight_drop = setting("weight_drop");
  config.ar = setting("ar");
  config.tar = setting("tar");
  const bool asgd = settings_of.count("nonmono") > 0;
  OptimizerSettings settings;
  settings.rule = asgd ? UpdateRule::asgd : UpdateRule::sgd;
  settings.decay = setting("weight_decay");
  // Two rows of logits at a time: the mixture's rows are worked through in many chunks.
  TinyLm lm(config, T, B, settings, DType::f64, Device::cpu(1), false, 128);
  lm.set_formula_weights();
  const State valid_state(lm.backend, lm.model->state_shape(), B, DType::f64);
  std::vector<double> validations;
  bool averaging = false;
  const auto validate = [&](int step) {
    const Exec exec = lm.backend.exec();
    if (averaging) lm.optimizer->swap_mean(exec, lm.params);
    HostChunk chunk = make_chunk(T, B, 1000, token);
    chunk.keep.assign(B, 0);
    lm.scheduler->evaluate(chunk, valid_state);
    if (averaging) lm.optimizer->swap_mean(exec, lm.params);
    const double nats = lm.scheduler->take_figures().at(0).nats;
    expect_close({nats}, g.at("valid " + std::to_string(step)), kTolerance,
                 "validation after step " + std::to_string(step));
    const bool trigger = nonmonotone(validations, nats, int64_t(setting("nonmono")));
    validations.push_back(nats);
    if (averaging) return;
    averaging = trigger;
    EXPECT_EQ(trigger, g.tensors.count("trigger " + std::to_string(step)) > 0) << step;
    if (trigger) lm.optimizer->begin_mean(lm.backend, lm.params);
  };
  for (int step = 0; step < kSteps; ++step) {
    StepScalars scalars;
    scalars.update.lr = setting("lr");
    scalars.update.clip = setting("clip");
    scalars.update.averaging = averaging;
    scalars.seed = 3;
    scalars.mask_step = uint64_t(step);
    scalars.weight = 1.0 / (B * T);
    lm.scheduler->train(make_chunk(T, B, int64_t(step) * T, token), lm.state, scalars);
    const std::vector<StepFigures> figures = lm.scheduler->take_figures();
    ASSERT_EQ(figures.size(), 1u);
    expect_close({figures[0].nats}, g.at("loss " + std::to_string(step)), kTolerance,
                 "loss of step " + std::to_string(step));
    if (step == 0)
      for (size_t i = 0; i < lm.params.entries().size(); ++i) {
        const std::string& name = lm.params.entries()[i].name;
        expect_close(lm.gradient(int(i)), g.at("gradient " + name), kTolerance,
                     "gradient of " + name);
      }
    if (asgd) validate(step);
  }
  const auto expect_weights = [&](const std::string& what) {
    for (size_t i = 0; i < lm.params.entries().size(); ++i) {
      const std::string name = what + " " + lm.params.entries()[i].name;
      expect_close(lm.read(int(i)), g.at(name), kTolerance, name);
    }
  };
  expect_weights("value");
  if (!asgd) return;
  EXPECT_TRUE(averaging) << "nothing was triggered";
  lm.optimizer->swap_mean(lm.backend.exec(), lm.params);
  expect_weights("mean");
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenAwdTest, testing::Values("tied", "mos", "asgd"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace unroll::test
