// Monte-Carlo dropout: the mean of probabilities over noisy passes, worked out pass by pass; masks
// that are held; no noise at all.
#include "host/score/mc_dropout_scorer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "host/score/log_add.h"
#include "tests/harness/tolerances.h"
#include "tests/host/score/stream_case.h"

namespace unroll::test {
namespace {

constexpr int kTokens = 41, kLine = 6;

struct Case {
  Case(double dropout, bool locked) : Case(stream_config(false, dropout, locked)) {}
  explicit Case(const RnnLm::Config& config) : lm(config, 64, 4) { lm.set_formula_weights(); }
  std::vector<double> score(const McDropoutOptions& options, const ScoringShape& shape,
                            size_t first = 0) {
    McDropoutScorer scorer(lm.backend, *lm.model, lm.params, *lm.scheduler, vocab, options, shape);
    return score_in_two(scorer, lines, first);
  }
  TinyLm lm;
  Vocab vocab = stream_vocab();
  std::vector<TokenLine> lines = stream_lines(kTokens, kLine);
};

TEST(McDropoutScorer, WithoutDropoutItIsThePlainModel) {
  Case c(0, false);
  NeuralScorer plain(c.lm.backend, *c.lm.model, c.lm.params, *c.lm.scheduler, c.vocab, Reset::never,
                     {.B = 1, .T = 64});
  const std::vector<double> expected = flat(plain.score(c.lines));
  expect_close(c.score({.passes = 1}, {.B = 1, .T = 7}), expected, 1e-12, "one pass");
  expect_close(c.score({.passes = 7}, {.B = 3, .T = 16}), expected, 1e-12, "seven passes");
}

TEST(McDropoutScorer, FeedsAllWords) {
  RnnLm::Config config = stream_config(false, 0, true);
  config.dropout_embedding = 0.5;
  Case masked(config), plain(0, true);
  EXPECT_FALSE(masked.lm.model->noisy());
  expect_close(masked.score({.passes = 3}, {.B = 1, .T = 7}),
               plain.score({.passes = 1}, {.B = 1, .T = 7}), 1e-12,
               "with words dropped in training");
}

TEST(McDropoutScorer, IsTheMeanOfTheProbabilitiesOfThePasses) {
  for (bool locked : {false, true}) {
    Case c(0.5, locked);
    constexpr int kPasses = 5, T = 7;
    std::vector<double> mean(kTokens, 0);
    for (int pass = 0; pass < kPasses; ++pass) {
      std::vector<double> nats;
      uint64_t chunks = 0;
      const State state(c.lm.backend, c.lm.model->state_shape(), 1, DType::f64);
      TokenStream(c.vocab.eos()).walk(c.lines, T, [&](const HostChunk& chunk, size_t) {
        ScorePass noisy{.mode = {.record = false, .noise = true}};
        noisy.scalars.seed = 11;
        noisy.scalars.mask_step = uint64_t(pass) + (locked ? 0 : kPasses * chunks++);
        for (double x : c.lm.scheduler->score(chunk, state, noisy)) nats.push_back(x);
      });
      for (size_t i = 0; i < nats.size(); ++i) mean[i] += std::exp(-nats[i]) / kPasses;
    }
    std::vector<double> expected;
    for (double p : mean) expected.push_back(-std::log(p));
    const McDropoutOptions options{.passes = kPasses, .seed = 11, .locked = locked};
    expect_close(c.score(options, {.B = 1, .T = T}), expected, 1e-12, "mean");
    const double other = relative_error(
        c.score({.passes = kPasses, .seed = 12, .locked = locked}, {.B = 1, .T = T}), expected);
    EXPECT_GT(other, 1e-3) << "the seed does nothing";
  }
}

TEST(McDropoutScorer, HeldMasksDoNotDependOnChunksOrCalls) {
  Case c(0.5, true);
  const McDropoutOptions options{.passes = 5, .seed = 3, .locked = true};
  const std::vector<double> first = c.score(options, {.B = 3, .T = 16});
  expect_close(c.score(options, {.B = 3, .T = 5}), first, 1e-12, "chunks of 5");
  expect_close(c.score(options, {.B = 3, .T = 5}, 4), first, 1e-12, "two calls");
}

TEST(McDropoutScorer, SumsToOneOverTheVocabulary) {
  Case c(0.5, true);
  double sum = 0;
  for (int32_t word = 0; word < kStreamWords; ++word) {
    c.lines.back().back() = word;
    sum += std::exp(-c.score({.passes = 6, .locked = true}, {.B = 4, .T = 9}).back());
  }
  EXPECT_NEAR(sum, 1, 1e-12);
}

TEST(LogAdd, KeepsSmallAndMissingTerms) {
  EXPECT_NEAR(log_add(std::log(0.25), std::log(0.5)), std::log(0.75), 1e-15);
  EXPECT_NEAR(log_add(-1000, -1000 + std::log(3)), -1000 + std::log(4), 1e-12);
  EXPECT_EQ(log_add(-INFINITY, -2), -2);
  EXPECT_EQ(log_add(-INFINITY, -INFINITY), -INFINITY);
}

}  // namespace
}  // namespace unroll::test
