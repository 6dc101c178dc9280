// What the regularisers of a whole model mean, as far as gradients alone do not say it.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "tests/harness/tolerances.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {
namespace {

constexpr int V = 11, T = 4, B = 3;

int32_t token(int64_t b, int64_t n) { return int32_t((17 * b + 5 * n + n * n) % V); }

RnnLm::Config plain() {
  RnnLm::Config c;
  c.V = V;
  c.E = 4;
  c.H = 6;
  c.H_last = 4;
  c.L = 3;
  c.tied = c.locked = true;
  c.init = 0.5;
  return c;
}
RnnLm::Config regularised() {
  RnnLm::Config c = plain();
  c.dropout = 0.3;
  c.dropout_embedding = 0.2;
  c.embedding_noise = 0.15;
  c.weight_drop = 0.5;
  c.adversarial = 0.1;
  c.ar = 2;
  c.tar = 1;
  return c;
}

StepFigures train(TinyLm& lm, uint64_t mask_step = 1) {
  StepScalars scalars;  // learning rate 0: the weights stay
  scalars.seed = 3;
  scalars.mask_step = mask_step;
  scalars.weight = 1.0 / (T * B);
  lm.scheduler->train(make_chunk(T, B, 0, token), lm.state, scalars);
  return lm.scheduler->take_figures().at(0);
}

// The last layer's output from zero states, in a mode of one's own.
std::vector<double> hidden(TinyLm& lm, Mode mode, uint64_t mask_step) {
  const HostChunk host = make_chunk(T, B, 0, token);
  Arena arena(Device::cpu(1));
  arena.reserve(1 << 20);
  uint64_t counter[2] = {3, mask_step};
  std::vector<int32_t> input = host.input, keep(B, 0);
  Chunk chunk;
  chunk.T = T;
  chunk.B = B;
  chunk.input = view_of(input.data(), T * B);
  chunk.keep = view_of(keep.data(), B);
  Tape tape(lm.backend.exec(), arena, lm.params, mode, view_of(counter, 2));
  const Var h = lm.model->hidden(tape, chunk, lm.state);
  const double* data = static_cast<const double*>(h.matrix().data);
  return {data, data + h.matrix().size()};
}

TEST(RegularizersTest, AreSilentWithoutNoise) {
  TinyLm with(regularised(), T, B), without(plain(), T, B);
  const Mode recording{true, false};  // dynamic evaluation
  for (const Mode& mode : {Mode::evaluation(), recording})
    EXPECT_EQ(hidden(with, mode, 1), hidden(without, mode, 1));
  EXPECT_NE(hidden(with, {false, true}, 1), hidden(without, {false, true}, 1));
  with.scheduler->evaluate(make_chunk(T, B, 0, token), with.state);
  without.scheduler->evaluate(make_chunk(T, B, 0, token), without.state);
  EXPECT_EQ(with.scheduler->take_figures()[0].nats, without.scheduler->take_figures()[0].nats);
}

TEST(RegularizersTest, EmbeddingNoiseIsForTrainingAloneAndOfTheStepsOwn) {
  RnnLm::Config config = plain();
  TinyLm without(config, T, B);
  config.embedding_noise = 0.15;
  TinyLm with(config, T, B);
  for (const Mode& mode : {Mode{false, true}, Mode{true, false}, Mode::evaluation()})
    EXPECT_EQ(hidden(with, mode, 1), hidden(without, mode, 1));
  const double one = train(with, 1).nats, other = train(with, 2).nats;
  EXPECT_NE(one, train(without).nats);
  EXPECT_NE(one, other);
  EXPECT_EQ(one, train(with, 1).nats);
  // Another strength in the second phase, and back.
  config.finetune_embedding_noise = 0;
  TinyLm phases(config, T, B);
  const auto of_phase = [&](bool finetuning) {
    StepScalars scalars;
    scalars.seed = 3;
    scalars.mask_step = 1;
    scalars.weight = 1.0 / (T * B);
    scalars.finetuning = finetuning;
    phases.scheduler->train(make_chunk(T, B, 0, token), phases.state, scalars);
    return phases.scheduler->take_figures().at(0).nats;
  };
  EXPECT_EQ(of_phase(false), one);
  EXPECT_EQ(of_phase(true), train(without).nats);
  EXPECT_EQ(of_phase(false), one);
}

TEST(RegularizersTest, AdversaryOfEachPhasePullsAtTheGradientAlone) {
  RnnLm::Config config = plain();
  TinyLm without(config, T, B);
  config.adversarial = 0.1;
  config.finetune_adversarial = 0;
  TinyLm with(config, T, B);
  StepScalars scalars;
  scalars.seed = 3;
  scalars.mask_step = 1;
  scalars.weight = 1.0 / (T * B);
  const StepFigures plain_step = train(without);
  for (const bool finetuning : {false, true}) {
    scalars.finetuning = finetuning;
    with.scheduler->train(make_chunk(T, B, 0, token), with.state, scalars);
    const StepFigures step = with.scheduler->take_figures().at(0);
    EXPECT_EQ(step.nats, plain_step.nats);
    EXPECT_EQ(step.norm2 == plain_step.norm2, finetuning);
  }
}

TEST(RegularizersTest, WeightDropActsFromTheSecondStepOn) {
  RnnLm::Config config = plain();
  config.L = 1;
  config.weight_drop = 0.5;
  TinyLm lm(config, T, B);
  const std::vector<double> before = lm.all_weights();
  const auto one = hidden(lm, {false, true}, 1), other = hidden(lm, {false, true}, 2);
  const auto none = hidden(lm, Mode::evaluation(), 1);
  const auto step = [](const std::vector<double>& h, int t) {
    return std::vector<double>(h.begin() + t * B * 4, h.begin() + (t + 1) * B * 4);
  };
  EXPECT_EQ(step(one, 0), step(other, 0)) << "the state is zero before the first step";
  EXPECT_EQ(step(one, 0), step(none, 0));
  for (int t = 1; t < T; ++t) {
    EXPECT_NE(step(one, t), step(other, t));
    EXPECT_NE(step(one, t), step(none, t));
  }
  EXPECT_EQ(lm.all_weights(), before);
  train(lm);
  EXPECT_EQ(lm.all_weights(), before) << "weight drop wrote the matrix itself";
}

TEST(RegularizersTest, WeightDropMasksTheGradientOfTheRecurrentMatrixOnly) {
  RnnLm::Config config = plain();
  config.L = 1;
  config.weight_drop = 0.5;
  TinyLm lm(config, T, B);
  train(lm, 7);
  for (size_t i = 0; i < lm.params.entries().size(); ++i) {
    const std::string& name = lm.params.entries()[i].name;
    const std::vector<double> g = lm.gradient(int(i));
    const double zeros = double(std::count(g.begin(), g.end(), 0.0)) / double(g.size());
    if (name.find("weight_hh") == std::string::npos)
      EXPECT_EQ(zeros, 0) << name;
    else
      EXPECT_NEAR(zeros, 0.5, 0.3) << name;
  }
}

TEST(RegularizersTest, PenaltiesPullAtTheGradientAndLeaveTheReportedLoss) {
  RnnLm::Config config = plain();
  TinyLm without(config, T, B);
  config.ar = 2;
  TinyLm ar(config, T, B);
  config.ar = 0;
  config.tar = 1;
  TinyLm tar(config, T, B);
  const StepFigures a = train(without), b = train(ar), c = train(tar);
  EXPECT_EQ(a.nats, b.nats);
  EXPECT_EQ(a.nats, c.nats);
  EXPECT_GT(std::abs(a.norm2 - b.norm2), 1e-6);
  EXPECT_GT(std::abs(a.norm2 - c.norm2), 1e-6);
}

TEST(RegularizersTest, WidthsAndNames) {
  TinyLm lm(plain(), T, B);
  const auto shapes = lm.model->state_shape();
  ASSERT_EQ(shapes.size(), 3u);
  EXPECT_EQ(shapes[1].H, 6);
  EXPECT_EQ(shapes[2].H, 4);
  std::map<std::string, std::pair<int64_t, int64_t>> tensors;
  for (const ParamStore::Entry& e : lm.params.entries()) tensors[e.name] = {e.rows, e.columns};
  EXPECT_EQ(tensors.at("rnns.0.weight_ih_l0"), std::pair(int64_t(24), int64_t(4)));
  EXPECT_EQ(tensors.at("rnns.2.weight_ih_l0"), std::pair(int64_t(16), int64_t(6)));
  EXPECT_EQ(tensors.at("rnns.2.weight_hh_l0"), std::pair(int64_t(16), int64_t(4)));
  EXPECT_EQ(tensors.count("projection.weight") + tensors.count("decoder.weight"), 0u);
  RnnLm::Config mixed = plain();
  mixed.mixtures = 5;
  mixed.H_last = 7;
  TinyLm mos(mixed, T, B);
  tensors.clear();
  for (const ParamStore::Entry& e : mos.params.entries()) tensors[e.name] = {e.rows, e.columns};
  EXPECT_EQ(tensors.at("prior.weight"), std::pair(int64_t(5), int64_t(7)));
  EXPECT_EQ(tensors.at("latent.0.weight"), std::pair(int64_t(20), int64_t(7)));
}

TEST(MixtureTest, LogitsOfAllRowsNeverStandAtOnce) {
  constexpr int T = 32, B = 8, K = 4, V = 2000;
  RnnLm::Config config;
  config.V = V;
  config.E = config.H = 4;
  config.mixtures = K;
  TinyLm lm(config, T, B, {}, DType::f64, Device::cpu(1), false, size_t(1) << 30);
  const size_t all = size_t(T) * B * K * V * sizeof(double);
  for (const bool training : {true, false}) {
    const size_t logits = lm.scheduler->measure(training, T, B, false, lm.state).logits;
    EXPECT_GT(logits, 0u);
    EXPECT_LT(logits, all * 3 / 5) << (training ? "training" : "evaluation");
  }
}

TEST(MixtureTest, ProbabilitiesAddUpToOneAndAgreeWithTheLoss) {
  RnnLm::Config config = plain();
  config.mixtures = 4;
  config.H_last = 5;
  TinyLm lm(config, T, B);
  TinyLm few_logits(config, T, B, {}, DType::f64, Device::cpu(1), false, 1);
  const HostChunk chunk = make_chunk(1, B, 0, token);
  const std::vector<double> nats = lm.scheduler->score(chunk, lm.state);
  expect_close(few_logits.scheduler->score(chunk, few_logits.state), nats, 1e-14, "in many turns");
  const std::vector<double> log_p = lm.scheduler->next_word(chunk.input, chunk.keep, lm.state);
  for (int b = 0; b < B; ++b) {
    double sum = 0;
    for (int v = 0; v < V; ++v) sum += std::exp(log_p[size_t(b * V + v)]);
    EXPECT_NEAR(sum, 1, 1e-13);
    EXPECT_NEAR(nats[size_t(b)], -log_p[size_t(b * V + chunk.target[size_t(b)])], 1e-13);
  }
}

}  // namespace
}  // namespace unroll::test
