// Cut-offs and entropy pruning: kept values, normalisation, and the criterion by brute force.
#include "host/ngram/prune.h"

#include "host/ngram/counts.h"
#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

constexpr int kWords = 31;

NgramModel trained(NgramOptions options) {
  options.discount_fallback = true;
  return NgramModel::train(Corpus(random_lines(kWords, 900, 17), kWords), small_vocab(kWords),
                           options);
}

struct Counted {
  NgramFile file;
  std::vector<std::vector<uint64_t>> counts;
};
Counted counted_and_estimated(int order) {
  ProgressMeter meter;
  const Corpus text(random_lines(kWords, 900, 17), kWords);
  Counted result;
  result.file = count_ngrams(text, kWords + 2, order, {}, meter);
  result.counts.resize(size_t(order) + 1);
  for (int n = 1; n <= order; ++n) {
    for (uint64_t i = 0; i < result.file.level(n).count; ++i) {
      result.counts[size_t(n)].push_back(uint64_t(result.file.level(n).log10_prob(i)));
    }
  }
  estimate_kneser_ney(result.file, kFallbackDiscounts, 1, meter);
  return result;
}

double probability(const NgramFile& file, NgramNode state, uint32_t word) {
  return std::pow(10, file.advance(state, word));
}

class PrunedModel : public ::testing::TestWithParam<NgramOptions> {};
INSTANTIATE_TEST_SUITE_P(Settings, PrunedModel,
                         ::testing::Values(NgramOptions{.order = 4, .min_count = {1, 1, 1, 2}},
                                           NgramOptions{.order = 4, .min_count = {1, 3, 2, 2}},
                                           NgramOptions{.order = 3, .prune = 1e-4},
                                           NgramOptions{
                                               .order = 5, .min_count = {1, 1, 2}, .prune = 3e-5}));

TEST_P(PrunedModel, IsSmallerAndSumsToOne) {
  const NgramModel full = trained({.order = GetParam().order}), pruned = trained(GetParam());
  uint64_t all = 0, kept = 0;
  for (const uint64_t n : full.info().ngrams) all += n;
  for (const uint64_t n : pruned.info().ngrams) kept += n;
  EXPECT_LT(kept, all * 9 / 10);
  EXPECT_GT(kept, all / 100);
  std::mt19937 random(23);
  for (int trial = 0; trial < 300; ++trial) {
    EXPECT_NEAR(total_probability(pruned, random_state(pruned, random, 7)), 1, 1e-9);
  }
}

TEST(CutOffs, KeepCountsAndProbabilitiesOfTheRest) {
  const Counted full = counted_and_estimated(3);
  std::vector<std::vector<uint64_t>> counts = full.counts;
  const NgramFile cut =
      drop_ngrams(full.file, keep_frequent(counts, {1, 1, 2}), counts, ~size_t(0), "");
  uint64_t frequent = 0;
  for (const uint64_t c : full.counts[3]) frequent += c >= 2;
  EXPECT_EQ(cut.level(3).count, frequent);
  EXPECT_EQ(cut.level(2).count, full.file.level(2).count);
  uint64_t at = 0;
  for (uint64_t i = 0; i < full.file.level(3).count; ++i) {
    if (full.counts[3][i] < 2) continue;
    EXPECT_EQ(cut.level(3).words[at], full.file.level(3).words[i]);
    EXPECT_EQ(cut.level(3).top[at], full.file.level(3).top[i]);
    EXPECT_EQ(counts[3][at], full.counts[3][i]);
    ++at;
  }
}

// Removing one n-gram alone, the divergence summed over all words must decide as the closed form.
TEST(EntropyPruning, DropsWhatChangesTheDistributionLeast) {
  const Counted full = counted_and_estimated(3);
  double tokens = 0;
  for (int w = 0; w < kWords + 2; ++w) tokens += double(full.counts[1][size_t(w)]);
  const double threshold = 1e-5;
  const NgramKeep keep = keep_informative(full.file, full.counts, threshold);
  const NgramLevel &contexts = full.file.level(2), &top = full.file.level(3);
  int kept = 0, dropped = 0;
  for (uint64_t h = 0; h < contexts.count; h += 7) {
    for (uint64_t c = contexts.entries[h].first_child; c < contexts.entries[h + 1].first_child;
         ++c) {
      NgramKeep without(4);
      for (size_t n = 2; n <= 3; ++n) without[n].assign(full.file.level(int(n)).count, 1);
      without[3][c] = 0;
      std::vector<std::vector<uint64_t>> none;
      const NgramFile smaller = drop_ngrams(full.file, without, none, ~size_t(0), "");
      double divergence = 0;
      for (uint32_t w = 0; w < kWords + 2; ++w) {
        const double p = probability(full.file, NgramNode(2, h), w);
        divergence += p * std::log(p / probability(smaller, NgramNode(2, h), w));
      }
      divergence *= double(full.counts[2][h]) / tokens;
      if (std::abs(std::expm1(divergence) / threshold - 1) < 1e-6) continue;
      EXPECT_EQ(std::expm1(divergence) >= threshold, keep[3][c] == 1) << "n-gram " << c;
      ++(keep[3][c] ? kept : dropped);
    }
    if (h > 2000) break;
  }
  EXPECT_GT(kept, 10);
  EXPECT_GT(dropped, 10);
  EXPECT_EQ(top.count, keep[3].size());
}

}  // namespace
}  // namespace unroll::test
