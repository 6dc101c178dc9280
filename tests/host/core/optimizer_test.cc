// The optimiser over a model: clip groups by name, the norm of a tied matrix, the mean of ASGD, what
// a checkpoint keeps.
#include "host/optim/optimizer.h"

#include <gtest/gtest.h>

#include <tuple>

#include "kernels/base/error.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

constexpr int V = 7, T = 5, B = 3;

RnnLm::Config small(bool tied) {
  RnnLm::Config c;
  c.V = V;
  c.E = c.H = 6;
  c.L = 1;
  c.tied = tied;
  return c;
}
HostChunk chunk() {
  return make_chunk(T, B, 0, [](int64_t b, int64_t n) { return int32_t((n * n + b) % V); });
}
StepFigures train(TinyLm& lm, double lr, double clip, bool averaging = false) {
  StepScalars scalars;
  scalars.update = {lr, clip, averaging ? 1.0 : 0.0};
  scalars.weight = 1.0 / (T * B);
  lm.scheduler->train(chunk(), lm.state, scalars);
  return lm.scheduler->take_figures().front();
}
double norm_of(const std::vector<double>& v) {
  double sum = 0;
  for (double x : v) sum += x * x;
  return std::sqrt(sum);
}

// Each weight moves by its gradient times its group's factor.
TEST(OptimizerTest, ClipGroupsGoByName) {
  OptimizerSettings settings;
  settings.clip_groups = {{"rnn.*", -1}, {"encoder.weight", 0.01}, {"*.bias", 0}};
  TinyLm lm(small(false), T, B, settings);
  lm.set_formula_weights();
  std::vector<std::vector<double>> before;
  for (size_t i = 0; i < lm.params.entries().size(); ++i) before.push_back(lm.read(int(i)));
  const StepFigures figures = train(lm, 1, 0.02);
  double recurrent = 0, all = 0;
  for (size_t i = 0; i < before.size(); ++i) {
    const double norm = norm_of(lm.gradient(int(i)));
    all += norm * norm;
    if (lm.params.entries()[i].name.starts_with("rnn.")) recurrent += norm * norm;
  }
  EXPECT_NEAR(figures.norm2 / all, 1, 1e-12);
  ASSERT_GT(recurrent, 0.02 * 0.02);
  for (size_t i = 0; i < before.size(); ++i) {
    const std::string& name = lm.params.entries()[i].name;
    const std::vector<double> gradient = lm.gradient(int(i)), after = lm.read(int(i));
    double factor = 0.02 / (std::sqrt(recurrent) + 1e-6);
    if (name == "encoder.weight") factor = 0.01 / (norm_of(gradient) + 1e-6);
    if (name == "decoder.bias") factor = 1;
    if (name == "decoder.weight") factor = std::min(1.0, 0.02 / (norm_of(gradient) + 1e-6));
    for (size_t j = 0; j < after.size(); ++j)
      ASSERT_NEAR(after[j], before[i][j] - factor * gradient[j], 1e-14) << name << " " << j;
  }
}

TEST(OptimizerTest, AGroupWithoutWeightsIsRefused) {
  OptimizerSettings settings;
  settings.clip_groups = {{"rnn.*", -1}, {"rnn.bias*", -1}};
  try {
    TinyLm lm(small(false), T, B, settings);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::usage);
    EXPECT_NE(std::string(error.what()).find("rnn.bias*"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("encoder.weight"), std::string::npos);
  }
  Config config;
  config.clip_groups = {"rnn.*=0.25", "decoder.*"};
  const auto groups = optimizer_settings(config).clip_groups;
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_EQ(groups[0].pattern, "rnn.*");
  EXPECT_EQ(groups[0].clip, 0.25);
  EXPECT_LT(groups[1].clip, 0);
  for (const char* bad : {"rnn.*=", "=1", "rnn.*=-1", "rnn.*=x", "rnn.*=nan"}) {
    config.clip_groups = {bad};
    EXPECT_THROW(optimizer_settings(config), Error) << bad;
  }
}

// The gradient of a matrix used twice is a sum, and the norm is that of the sum: the untied model
// with equal matrices gives its two terms.
TEST(OptimizerTest, NormOfATiedMatrixIsThatOfTheSummedGradient) {
  TinyLm tied(small(true), T, B), untied(small(false), T, B);
  tied.set_formula_weights();
  for (size_t i = 0; i < untied.params.entries().size(); ++i) {
    const std::string& name = untied.params.entries()[i].name;
    const std::string source = name == "decoder.weight" ? "encoder.weight" : name;
    for (size_t j = 0; j < tied.params.entries().size(); ++j)
      if (tied.params.entries()[j].name == source) untied.write(int(i), tied.read(int(j)));
  }
  const double tied_norm2 = train(tied, 0, 0).norm2;
  const double untied_norm2 = train(untied, 0, 0).norm2;
  double expected = 0;
  std::vector<double> sum(size_t(V * 6), 0);
  for (size_t i = 0; i < untied.params.entries().size(); ++i) {
    const std::vector<double> g = untied.gradient(int(i));
    const std::string& name = untied.params.entries()[i].name;
    if (name == "encoder.weight" || name == "decoder.weight")
      for (size_t j = 0; j < g.size(); ++j) sum[j] += g[j];
    else
      expected += norm_of(g) * norm_of(g);
  }
  expected += norm_of(sum) * norm_of(sum);
  EXPECT_NEAR(tied_norm2 / expected, 1, 1e-12);
  EXPECT_GT(std::abs(untied_norm2 / expected - 1), 1e-3);  // the two differ, so the test can fail
}

// The mean is that of the iterates from the second averaged one on; swapping gives it to the
// evaluation, and swapping again gives the iterate back, bit for bit.
TEST(OptimizerTest, MeanOfTheIterates) {
  OptimizerSettings settings;
  settings.rule = UpdateRule::asgd;
  settings.decay = 0.01;
  TinyLm lm(small(true), T, B, settings);
  const Exec exec = lm.backend.exec();
  for (int step = 0; step < 3; ++step) train(lm, 0.5, 1);
  lm.optimizer->begin_mean(lm.backend, lm.params);
  const std::vector<double> start = lm.all_weights();
  lm.optimizer->swap_mean(exec, lm.params);
  EXPECT_EQ(lm.all_weights(), start);  // before the first averaged update: where it starts
  lm.optimizer->swap_mean(exec, lm.params);
  std::vector<double> mean(start.size(), 0);
  constexpr int kSteps = 6;
  for (int step = 0; step < kSteps; ++step) {
    train(lm, 0.5, 1, true);
    const std::vector<double> iterate = lm.all_weights();
    for (size_t i = 0; i < mean.size() && step > 0; ++i) mean[i] += iterate[i] / (kSteps - 1);
  }
  const std::vector<double> iterate = lm.all_weights();
  lm.optimizer->swap_mean(exec, lm.params);
  const std::vector<double> got = lm.all_weights();
  for (size_t i = 0; i < mean.size(); ++i) ASSERT_NEAR(got[i], mean[i], 1e-14) << i;
  EXPECT_NE(got, iterate);
  lm.optimizer->swap_mean(exec, lm.params);
  EXPECT_EQ(lm.all_weights(), iterate);
}

// An update whose gradient is not finite leaves weights, slots and counts as they were.
TEST(OptimizerTest, ASkippedUpdateDoesNotCount) {
  OptimizerSettings settings;
  settings.rule = UpdateRule::adam;
  TinyLm skipping(small(true), T, B, settings), plain(small(true), T, B, settings);
  for (int step = 0; step < 3; ++step) {
    StepScalars bad;
    bad.update = {0.1, 1};
    bad.weight = INFINITY;
    const State state(skipping.backend, skipping.model->state_shape(), B, DType::f64);
    skipping.scheduler->train(chunk(), state, bad);
    EXPECT_FALSE(std::isfinite(skipping.scheduler->take_figures().front().norm2));
    train(skipping, 0.1, 1);
    train(plain, 0.1, 1);
    EXPECT_EQ(skipping.all_weights(), plain.all_weights()) << step;
  }
}

TEST(OptimizerTest, SlotsAreNamedByRule) {
  const std::pair<UpdateRule, std::vector<std::string>> cases[] = {
      {UpdateRule::sgd, {"update_counts"}},
      {UpdateRule::momentum, {"momentum.velocity", "update_counts"}},
      {UpdateRule::adagrad, {"adagrad.squares", "update_counts"}},
      {UpdateRule::rmsprop, {"rmsprop.v", "update_counts"}},
      {UpdateRule::adamw, {"adam.m", "adam.v", "update_counts"}}};
  for (const auto& [rule, names] : cases) {
    OptimizerSettings settings;
    settings.rule = rule;
    settings.accumulator = 0.25;  // of Adagrad alone
    TinyLm lm(small(true), T, B, settings);
    std::vector<std::string> found;
    for (const Optimizer::Slot& slot : lm.optimizer->slots()) found.push_back(slot.name);
    EXPECT_EQ(found, names);
    const double first = lm.optimizer->slots()[0].memory->as<double>()[0];
    EXPECT_EQ(first, rule == UpdateRule::adagrad ? 0.25 : 0) << names[0];
  }
}

// Word vectors whose gradient is kept by rows are trained as those with a whole one, bit for bit,
// and take less memory; what a checkpoint keeps lies where it lay.
TEST(RowGradientTest, TrainsAsTheWholeGradient) {
  using Kind = OutputLayer::Kind;
  for (const auto& [rule, act, kind] : {std::tuple(UpdateRule::sgd, DType::f32, Kind::full),
                                        std::tuple(UpdateRule::adagrad, DType::f64, Kind::full),
                                        std::tuple(UpdateRule::adagrad, DType::f32, Kind::sampled),
                                        std::tuple(UpdateRule::sgd, DType::f64, Kind::nce)}) {
    OptimizerSettings settings;
    settings.rule = rule;
    settings.clip_groups = {{"encoder.weight", 0.02}};
    RnnLm::Config config = small(false);
    config.V = 501;
    config.output.kind = kind;
    config.output.samples = 40;  // some of the chunk's words, some several times
    config.output.q = log_uniform(501);
    const auto make = [&](bool by_rows) {
      return TinyLm(config, T, B, settings, act, Device::cpu(1), false, 1 << 20, by_rows);
    };
    TinyLm whole = make(false), rows = make(true);
    const size_t matrices = kind == Kind::full ? 1 : 2;
    EXPECT_EQ(rows.params.row_params().size(), matrices);
    EXPECT_EQ(whole.params.bytes(act) - rows.params.bytes(act),
              matrices * ((501 * 6 + 63) / 64 * 64) * size_of(act));
    for (int step = 0; step < 5; ++step) {
      const StepFigures a = train(whole, 0.5, 0.1), b = train(rows, 0.5, 0.1);
      EXPECT_EQ(a.nats, b.nats);
      EXPECT_EQ(a.norm2, b.norm2);
    }
    EXPECT_TRUE(whole.all_weights() == rows.all_weights());
    for (size_t i = 0; i < whole.params.entries().size(); ++i)
      EXPECT_EQ(whole.params.entries()[i].offset, rows.params.entries()[i].offset);
  }
}

// Updates of three, two and one micro-steps, of unequal length.
TEST(RowGradientTest, AddsUpTheRowsOfMicroSteps) {
  for (const DType act : {DType::f32, DType::f64}) {
    OptimizerSettings settings;
    settings.rule = act == DType::f32 ? UpdateRule::adagrad : UpdateRule::sgd;
    RnnLm::Config config = small(false);
    config.V = 501;
    config.output.kind = OutputLayer::Kind::sampled;
    config.output.samples = 40;
    config.output.q = log_uniform(501);
    const auto run = [&](bool by_rows) {
      TinyLm lm(config, T, B, settings, act, Device::cpu(1), false, 1 << 20, by_rows, 3);
      EXPECT_EQ(lm.params.row_params().size(), by_rows ? 2u : 0u);
      int n = 0;
      for (const int micro_steps : {3, 2, 1, 3})
        for (int micro = 0; micro < micro_steps; ++micro, ++n) {
          StepScalars scalars;
          scalars.update = {0.5, 0.1, 0.0};
          scalars.mask_step = uint64_t(n);
          scalars.weight = 1.0 / (T * B);
          lm.scheduler->train(make_chunk(n % 2 ? T : T - 2, B, n,
                                         [](int64_t b, int64_t i) {
                                           return int32_t((i * i * 7 + b) % (i % 3 ? 11 : 501));
                                         }),
                              lm.state, scalars, micro == 0, micro + 1 == micro_steps);
        }
      std::vector<double> all = lm.all_weights();
      for (const StepFigures& f : lm.scheduler->take_figures())
        all.insert(all.end(), {f.nats, f.norm2});
      return all;
    };
    EXPECT_TRUE(run(false) == run(true)) << name_of(act);
  }
}

TEST(RowGradientTest, IsForRulesThatAllowIt) {
  Config config;
  config.optimizer = "sgd";
  EXPECT_TRUE(allows_row_gradients(config));
  config.weight_decay = 1e-6;
  EXPECT_FALSE(allows_row_gradients(config));
  config.weight_decay = 0;
  config.optimizer = "adam";
  EXPECT_FALSE(allows_row_gradients(config));

  OptimizerSettings adam;
  adam.rule = UpdateRule::adam;
  EXPECT_THROW(TinyLm(small(false), T, B, adam, DType::f64, Device::cpu(1), false, 1 << 20, true),
               Error);
  TinyLm lm(small(false), T, B, {}, DType::f64, Device::cpu(1), false, 1 << 20, true);
  EXPECT_THROW(lm.scheduler->train(chunk(), lm.state, {}, true, false), Error)
      << "made for one chunk";
  TinyLm tied(small(true), T, B, {}, DType::f64, Device::cpu(1), false, 1 << 20, true);
  EXPECT_TRUE(tied.params.row_params().empty());
}

}  // namespace
}  // namespace unroll::test
