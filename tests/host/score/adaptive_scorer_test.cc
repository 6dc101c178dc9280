// The continuous cache over a model: against its definition from the model's own hidden states,
// whatever the chunks; sums over the vocabulary with and without moving weights; tuning.
#include "host/score/adaptive_scorer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "host/score/adaptation_search.h"
#include "host/score/neural_scorer.h"
#include "tests/harness/tolerances.h"
#include "tests/host/score/stream_case.h"

namespace unroll::test {
namespace {

constexpr int kTokens = 83, kLine = 6;
const CacheOptions kCache{.setting = {9, 1.7}, .lambda = 0.3};

// Copies what the output layer read.
class HiddenStates final : public ScoreHook {
 public:
  void scored(Tape& tape, const Var& hidden, const Chunk&) override {
    if (tape.exec().kind == DeviceKind::none) return;
    const auto rows = hidden.matrix().as<double>();
    for (int64_t n = 0; n < rows.n[0]; ++n) all.emplace_back(rows.row(n), rows.row(n) + rows.n[1]);
  }
  std::vector<std::vector<double>> all;
};

struct Case {
  explicit Case(bool tied = false) : lm(stream_config(tied), 64, 1) { lm.set_formula_weights(); }
  std::unique_ptr<AdaptiveScorer> scorer(const AdaptiveScorer::Options& options, int length) {
    Scheduler::Options room;
    room.max_tokens = length;
    room.max_lanes = 1;
    scheduler = std::make_unique<Scheduler>(lm.backend, *lm.model, lm.params, nullptr, room);
    return std::make_unique<AdaptiveScorer>(lm.backend, *lm.model, lm.params, *scheduler, vocab,
                                            options, length);
  }
  // Of a small text.
  const GradientStatistics* statistics();

  TinyLm lm;
  Vocab vocab = stream_vocab();
  std::unique_ptr<Scheduler> scheduler;
  std::unique_ptr<GradientStatistics> measured;
};

class OneChunk final : public ChunkSource {
 public:
  int64_t chunks(int64_t) const override { return 2; }
  void fill(int64_t, int64_t k, HostChunk& out) override {
    out = make_chunk(20, 1, 20 * k, [](int64_t, int64_t n) { return stream_token(n); });
  }
  int max_T() const override { return 20; }
  int B() const override { return 1; }
};

const GradientStatistics* Case::statistics() {
  OneChunk text;
  measured =
      std::make_unique<GradientStatistics>(lm.backend, *lm.model, lm.params, *lm.scheduler, text);
  return measured.get();
}

TEST(AdaptiveScorer, TheCacheEqualsItsDefinitionWhateverTheChunks) {
  for (bool tied : {false, true}) {
    Case c(tied);
    const std::vector<TokenLine> lines = stream_lines(kTokens, kLine);
    // The plain losses and hidden states, a token at a time.
    HiddenStates states;
    std::vector<double> plain;
    std::vector<int32_t> words;
    TokenStream(c.vocab.eos()).walk(lines, 1, [&](const HostChunk& chunk, size_t) {
      plain.push_back(c.lm.scheduler->score(chunk, c.lm.state, {.hook = &states})[0]);
      words.push_back(chunk.target[0]);
    });
    std::vector<double> expected;
    for (int64_t t = 0; t < kTokens; ++t) {
      double all = 0, hits = 0;
      for (int64_t i = std::max<int64_t>(0, t - kCache.setting.window); i < t; ++i) {
        double product = 0;
        for (size_t d = 0; d < states.all[0].size(); ++d)
          product += states.all[size_t(t)][d] * states.all[size_t(i)][d];
        const double e = std::exp(kCache.setting.theta * product);
        all += e;
        if (words[size_t(i)] == words[size_t(t)]) hits += e;
      }
      const double p = std::exp(-plain[size_t(t)]), cached = t == 0 ? p : hits / all;
      expected.push_back(-std::log((1 - kCache.lambda) * p + kCache.lambda * cached));
    }
    for (int length : {1, 4, 17, 200}) {
      const auto scorer = c.scorer({.cache = kCache}, length);
      expect_close(score_in_two(*scorer, lines, 5), expected, 1e-12,
                   "chunks of " + std::to_string(length));
    }
    EXPECT_GT(relative_error(plain, expected), 1e-2);
  }
}

TEST(AdaptiveScorer, SumsToOneOverTheVocabularyWhileItFollowsTheText) {
  Case c;
  const GradientStatistics* statistics = c.statistics();
  for (bool dynamic : {false, true}) {
    AdaptiveScorer::Options options{.cache = kCache};
    if (dynamic) {
      options.dynamic = DynamicOptions{.lr = 0.01, .lambda = 0.1, .eps = 1e-3, .segment = 4};
      options.statistics = statistics;
    }
    for (int64_t length : {1, 2, 30}) {  // the first token, the second, after updates
      double sum = 0;
      for (int32_t word = 0; word < kStreamWords; ++word) {
        std::vector<TokenLine> lines = stream_lines(length, length);
        lines.back().back() = word;
        sum += std::exp(-flat(c.scorer(options, 4)->score(lines)).back());
      }
      EXPECT_NEAR(sum, 1, 1e-12) << length;
    }
  }
}

TEST(AdaptiveScorer, WithoutAnythingToFollowItIsThePlainModel) {
  Case c;
  const GradientStatistics* statistics = c.statistics();
  const std::vector<TokenLine> lines = stream_lines(kTokens, kLine);
  NeuralScorer plain(c.lm.backend, *c.lm.model, c.lm.params, *c.lm.scheduler, c.vocab, Reset::never,
                     {.B = 1, .T = 64});
  const std::vector<double> expected = flat(plain.score(lines));
  CacheOptions none = kCache;
  none.lambda = 0;
  const DynamicOptions still{.lr = 0, .lambda = 0, .eps = 1e-3, .segment = 5};
  expect_close(flat(c.scorer({.cache = none}, 9)->score(lines)), expected, 1e-12, "lambda 0");
  expect_close(flat(c.scorer({.dynamic = still, .statistics = statistics}, 5)->score(lines)),
               expected, 1e-12, "lr 0");
}

TEST(AdaptiveScorer, ChunksOfLongWindowsAreShort) {
  EXPECT_EQ(AdaptiveScorer::chunk_length({}, 700), 700);
  EXPECT_EQ(AdaptiveScorer::chunk_length({.cache = kCache}, 700), 700);
  CacheOptions wide = kCache;
  wide.setting.window = 1000000;
  EXPECT_EQ(AdaptiveScorer::chunk_length({.cache = wide}, 700), 16);
  EXPECT_EQ(AdaptiveScorer::chunk_length({.cache = wide, .dynamic = DynamicOptions{}}, 700), 5);
}

TEST(AdaptationSearch, FindsTheLowestPointOfABowl) {
  int calls = 0;
  const auto bowl = [&](const std::vector<double>& x) {
    ++calls;
    const double a = std::log2(x[0] / 8), b = std::log2(x[1] / 0.5);
    return x[0] > 20 ? NAN : a * a + b * b + 0.3 * a * b;
  };
  const SearchResult found =
      coordinate_search(bowl, {{1, 0.01, 100}, {1, 0.4, 100}}, {2, std::sqrt(2.0)});
  EXPECT_NEAR(found.at[0], 8, 1e-9);
  EXPECT_NEAR(found.at[1], 0.5, 1e-9);
  EXPECT_NEAR(found.value, 0, 1e-12);
  EXPECT_EQ(found.evaluations, calls);
  EXPECT_LT(calls, 25);
}

TEST(AdaptationSearch, TunedSettingsScoreAsReportedAndBeatTheDefaults) {
  Case c;
  const std::vector<TokenLine> text = stream_lines(400, kLine);
  const auto make = [&](const AdaptiveScorer::Options& options) {
    return c.scorer(options, AdaptiveScorer::chunk_length(options, 33));
  };
  const auto nats_of = [&](const AdaptiveScorer::Options& o) { return text_nats(*make(o), text); };

  const CacheTuning cache = tune_cache(make, {}, {}, text);
  EXPECT_NEAR(nats_of({.cache = cache.options}), cache.nats, 1e-6);
  EXPECT_LT(cache.nats, nats_of({.cache = CacheOptions{}}));
  const CacheTuning fixed = tune_cache(make, {}, {.window = 40, .theta = {}, .lambda = 0.2}, text);
  EXPECT_EQ(fixed.options.setting.window, 40);
  EXPECT_EQ(fixed.options.lambda, 0.2);
  EXPECT_NEAR(nats_of({.cache = fixed.options}), fixed.nats, 1e-6);

  const AdaptiveScorer::Options base{.dynamic = DynamicOptions{.lr = 1e-3, .lambda = 1e-2},
                                     .statistics = c.statistics()};
  int tried = 0;
  const DynamicTuning dynamic =
      tune_dynamic(make, base, text, [&](const DynamicOptions&, double) { ++tried; });
  EXPECT_EQ(dynamic.passes, tried);
  EXPECT_LT(dynamic.nats, nats_of(base));
  AdaptiveScorer::Options best = base;
  best.dynamic = dynamic.options;
  EXPECT_NEAR(nats_of(best), dynamic.nats, 1e-9);
}

}  // namespace
}  // namespace unroll::test
