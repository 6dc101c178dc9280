// models/softmax_choice.h: cut-offs against all that there are, what is chosen when, and errors
// that name the fix.
#include "models/softmax_choice.h"

#include <gtest/gtest.h>

#include <cmath>

#include "host/ops/adaptive_softmax.h"
#include "kernels/base/error.h"

namespace unroll::test {
namespace {

std::vector<uint64_t> zipf(int64_t V) {
  std::vector<uint64_t> counts;
  for (int64_t v = 0; v < V; ++v) counts.push_back(uint64_t(1e9 / double(v + 1)));
  return counts;
}

Vocab vocab_of(const std::vector<uint64_t>& counts) {
  std::string text;
  for (size_t v = 0; v < counts.size(); ++v) {
    text += v == 0 ? "<eos>" : v == 1 ? "<unk>" : "w" + std::to_string(v);
    if (counts[v] > 0) text += " " + std::to_string(counts[v]);
    text += "\n";
  }
  return Vocab::parse(text, Unit::word, "test");
}

std::string error_of(Config config, const Vocab& vocab) {
  try {
    choose_softmax(config, vocab);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(SoftmaxChoiceTest, CutoffsAreTheBestOfTheGrid) {
  const auto counts = zipf(3000);
  const int64_t D = 2000, tokens = 3000;
  const double div = 4;
  const auto chosen = choose_cutoffs(counts, D, div, tokens);
  ASSERT_FALSE(chosen.empty());
  const double cost = adaptive_cost(counts, chosen, D, div, tokens);
  // The search counts a cluster's entry in the first level, as the cost does.
  for (int64_t a = 100; a < 3000; a += 100) {
    EXPECT_LE(cost, adaptive_cost(counts, {a}, D, div, tokens) + 1e-12);
    for (int64_t b = a + 100; b < 3000; b += 100)
      EXPECT_LE(cost, adaptive_cost(counts, {a, b}, D, div, tokens) + 1e-12) << a << " " << b;
  }
  for (size_t i = 0; i < chosen.size(); ++i) EXPECT_GE(cluster_width(D, div, int64_t(i)), 16);
  EXPECT_TRUE(choose_cutoffs(zipf(50), 8, 4, 20).empty()) << "a product that small gains nothing";
}

TEST(SoftmaxChoiceTest, CostIsThatOfTheProducts) {
  // 10 words, all equally frequent: half of the tokens in each half.
  const std::vector<uint64_t> counts(10, 1);
  const double c = 2e7, n = 1e6, D = 8;
  const double full = c + n * 10 * D;
  EXPECT_NEAR(adaptive_cost(counts, {5}, 8, 2, int64_t(n)),
              (c + n * 6 * D + c + n / 2 * 4 * D + c + n / 2 * 5 * 4) / full, 1e-12);
  EXPECT_NEAR(adaptive_cost(counts, {5}, 8, 1, int64_t(n)),
              (c + n * 6 * D + c + n / 2 * 5 * D) / full, 1e-12);
}

TEST(SoftmaxChoiceTest, AutoIsFullForSmallVocabulariesAndAdaptiveForLargeOnes) {
  Config small;
  EXPECT_NE(choose_softmax(small, vocab_of(zipf(2000))).find("fewer than 75000"),
            std::string::npos);
  EXPECT_EQ(small.softmax, "full");
  const Vocab large = vocab_of(zipf(80000));
  Config config;
  const std::string why = choose_softmax(config, large);
  EXPECT_EQ(config.softmax, "adaptive");
  EXPECT_NE(why.find("by the cost model, chosen for 80000 words"), std::string::npos) << why;
  EXPECT_FALSE(config.cutoffs_of_clusters().empty());
  const Config once = config;
  choose_softmax(config, large);
  EXPECT_TRUE(config == once) << "what is definite stays";
  Config mixed;
  mixed.mixtures = 3;
  choose_softmax(mixed, large);
  EXPECT_EQ(mixed.softmax, "full");
}

TEST(SoftmaxChoiceTest, ErrorsNameTheFix) {
  const Vocab sorted = vocab_of(zipf(100)), not_sorted = vocab_of({9, 5, 6, 1}),
              no_counts = vocab_of({0, 0, 0, 0});
  const auto with = [](const std::string& softmax, const std::string& more = "") {
    return Config::from_toml("softmax = \"" + softmax + "\"\n" + more, "test");
  };
  EXPECT_NE(error_of(with("adaptive"), not_sorted).find("'w2' (6 times) stands behind '<unk>' (5)"),
            std::string::npos);
  EXPECT_NE(error_of(with("class"), not_sorted).find("--vocab"), std::string::npos);
  EXPECT_NE(error_of(with("adaptive"), no_counts).find("--adaptive-cutoffs"), std::string::npos);
  EXPECT_NE(error_of(with("sampled", "sampler = \"unigram\""), no_counts).find("log-uniform"),
            std::string::npos);
  EXPECT_NE(error_of(with("adaptive", "adaptive_cutoffs = \"10,100\""), sorted)
                .find("beyond the 100 words"),
            std::string::npos);
  EXPECT_NE(error_of(with("adaptive", "adaptive_cutoffs = \"10,20,30\"\nhidden = 20"), sorted)
                .find("div_value"),
            std::string::npos);
  EXPECT_EQ(error_of(with("nce", "sampler = \"unigram\""), not_sorted), "no error");
}

}  // namespace
}  // namespace unroll::test
