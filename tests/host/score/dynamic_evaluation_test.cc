// Gradient statistics and dynamic evaluation against PyTorch in float64: every RMS, the loss of
// every token, every weight after eleven segments. See tests/golden/make_torch_dynamic.py.
#include "host/score/dynamic_evaluation.h"

#include <gtest/gtest.h>

#include "host/score/adaptive_scorer.h"
#include "tests/harness/golden.h"
#include "tests/harness/tolerances.h"
#include "tests/host/score/stream_case.h"

namespace unroll::test {
namespace {

constexpr double kTolerance = 1e-9;
constexpr int T = 5, kLanes = 3, kChunks = 6, kTokens = 52;
const DynamicOptions kOptions{.lr = 0.01, .lambda = 0.3, .eps = 1e-3, .segment = T};

Golden golden_of(const std::string& name) {
  return read_golden(UNROLL_GOLDEN_DIR "/torch_dynamic_" + name + ".txt", GoldenSettings::none);
}

class TrainingText final : public ChunkSource {
 public:
  int64_t chunks(int64_t) const override { return kChunks; }
  void fill(int64_t, int64_t k, HostChunk& out) override {
    out =
        make_chunk(T, kLanes, k * T, [](int64_t b, int64_t n) { return stream_token(31 * b + n); });
  }
  int max_T() const override { return T; }
  int B() const override { return kLanes; }
};

struct Case {
  explicit Case(bool tied) : lm(stream_config(tied), T, kLanes) {
    lm.set_formula_weights();
    statistics =
        std::make_unique<GradientStatistics>(lm.backend, *lm.model, lm.params, *lm.scheduler, text);
  }
  std::unique_ptr<AdaptiveScorer> scorer(const AdaptiveScorer::Options& options) {
    Scheduler::Options room;
    room.max_tokens = room.max_lanes = T;
    scheduler = std::make_unique<Scheduler>(lm.backend, *lm.model, lm.params, nullptr, room);
    return std::make_unique<AdaptiveScorer>(lm.backend, *lm.model, lm.params, *scheduler, vocab,
                                            options, T);
  }
  TinyLm lm;
  TrainingText text;
  Vocab vocab = stream_vocab();
  std::unique_ptr<GradientStatistics> statistics;
  std::unique_ptr<Scheduler> scheduler;
};

class DynamicEvaluationTest : public testing::TestWithParam<bool> {};

TEST_P(DynamicEvaluationTest, ElevenSegmentsEqualPyTorch) {
  const Golden golden = golden_of(GetParam() ? "tied" : "plain");
  Case c(GetParam());
  const auto& entries = c.lm.params.entries();
  EXPECT_EQ(c.statistics->segments(), kChunks);
  const double* rms = static_cast<const double*>(c.statistics->rms().data);
  for (const ParamStore::Entry& e : entries)
    expect_close({rms + e.offset, rms + e.offset + e.size()}, golden.at("rms " + e.name),
                 kTolerance, "rms of " + e.name);

  const std::vector<double> trained = c.lm.all_weights();
  {
    const auto scorer = c.scorer({.dynamic = kOptions, .statistics = c.statistics.get()});
    // A line end is no end of a segment.
    expect_close(flat(scorer->score(stream_lines(kTokens, 3))), golden.at("nats text"), kTolerance,
                 "losses");
    for (size_t i = 0; i < entries.size(); ++i)
      expect_close(c.lm.read(int(i)), golden.at("value " + entries[i].name), kTolerance,
                   entries[i].name);
    EXPECT_GT(relative_error(c.lm.all_weights(), trained), 1e-2) << "the weights did not move";
  }
  EXPECT_EQ(c.lm.all_weights(), trained) << "the trained weights were not put back";
}

TEST_P(DynamicEvaluationTest, ASecondTextStartsFromTheTrainedWeights) {
  Case c(GetParam());
  const std::vector<TokenLine> lines = stream_lines(kTokens, 9);
  const AdaptiveScorer::Options options{.dynamic = kOptions, .statistics = c.statistics.get()};
  const std::vector<double> first = flat(c.scorer(options)->score(lines));
  EXPECT_EQ(flat(c.scorer(options)->score(lines)), first);
}

TEST_P(DynamicEvaluationTest, ADivergingRateIsAnErrorThatNamesTheFlag) {
  Case c(GetParam());
  DynamicOptions wild = kOptions;
  wild.lr = 1e300;
  const auto scorer = c.scorer({.dynamic = wild, .statistics = c.statistics.get()});
  try {
    scorer->score(stream_lines(kTokens, 9));
    FAIL() << "no error";
  } catch (const AdaptationDiverged& e) {
    EXPECT_EQ(e.kind(), ErrorKind::divergence);
    EXPECT_NE(std::string(e.what()).find("--dynamic"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, DynamicEvaluationTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "tied" : "plain"; });

}  // namespace
}  // namespace unroll::test
