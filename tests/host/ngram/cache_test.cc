// Caches against their definitions, and as distributions alone and in mixtures.
#include "host/ngram/cache.h"

#include "host/mix/em_mixture.h"
#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

constexpr int kWords = 13, kV = kWords + 2;

// p(word) from all tokens before position t, by the definition.
double definition(const CacheSpec& spec, const Corpus& text, uint64_t t, int32_t word) {
  double hits = 0, total = 0;
  for (uint64_t i = 1; i <= t; ++i) {
    if (spec.kind != CacheSpec::Kind::decay && double(i) > spec.words) break;
    const double weight =
        spec.kind == CacheSpec::Kind::decay ? std::exp(-double(i) / spec.words) : 1;
    if (spec.kind == CacheSpec::Kind::bigram && (i + 1 > t || text[t - i - 1] != text[t - 1])) {
      continue;
    }
    total += weight;
    hits += text[t - i] == word ? weight : 0;
  }
  if (total == 0) return definition({CacheSpec::Kind::unigram, spec.words}, text, t, word);
  return hits / total;
}

class Cache : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, Cache,
                         ::testing::Values("unigram:1", "unigram:37", "decay:5", "decay:100.5",
                                           "bigram:1", "bigram:2", "bigram:41", "bigram:5000"));

TEST_P(Cache, FollowsItsDefinitionAndSumsToOne) {
  const CacheSpec spec = parse_cache_specs(GetParam()).front();
  EXPECT_EQ(name_of(spec), GetParam());
  const Corpus text(random_lines(kWords, 90, 43), kWords);
  const std::unique_ptr<WordCache> cache = make_cache(spec, kV);
  EXPECT_TRUE(cache->empty());
  std::vector<double> p(kV);
  cache->distribution(p);
  EXPECT_EQ(p, std::vector<double>(kV, 0.0));
  const std::vector<double> model(text.size(), 0.125);
  const std::vector<double> stream = cache_probabilities(spec, text, kV, model);
  EXPECT_EQ(stream[0], 0.125);
  for (uint64_t t = 1; t < text.size(); ++t) {
    cache->add(text[t - 1]);
    EXPECT_FALSE(cache->empty());
    cache->distribution(p);
    double sum = 0;
    for (int32_t w = 0; w < kV; ++w) {
      ASSERT_NEAR(cache->probability(w), definition(spec, text, t, w), 1e-12) << t << " " << w;
      ASSERT_NEAR(p[size_t(w)], cache->probability(w), 1e-12);
      sum += cache->probability(w);
    }
    ASSERT_NEAR(sum, 1, 1e-9);
    ASSERT_EQ(stream[t], cache->probability(text[t]));
  }
}

TEST(Cache, DecayStaysExactOverALongText) {
  // Without care the weights of a decaying cache overflow after some 700 / lambda words.
  const std::unique_ptr<WordCache> cache = make_cache({CacheSpec::Kind::decay, 2}, 3);
  for (int i = 0; i < 100000; ++i) cache->add(i % 2);
  const double r = std::exp(-0.5);
  EXPECT_NEAR(cache->probability(1), 1 / (1 + r), 1e-12);
  EXPECT_NEAR(cache->probability(0), r / (1 + r), 1e-12);
  EXPECT_EQ(cache->probability(2), 0);
}

TEST(Cache, MixedWithAModelSumsToOne) {
  const Corpus text(random_lines(kWords, 60, 47), kWords);
  const NgramModel model =
      NgramModel::train(text, small_vocab(kWords), {.order = 3, .discount_fallback = true});
  const auto specs = parse_cache_specs("decay:20,bigram:30");
  const auto first = make_cache(specs[0], kV), second = make_cache(specs[1], kV);
  NgramModel::State state = model.start();
  std::vector<double> p(kV), q(kV), r(kV), mixed(kV);
  for (uint64_t t = 0; t < text.size(); ++t) {
    model.advance(state, text[t]);
    first->add(text[t]);
    second->add(text[t]);
    model.distribution(state, p);
    first->distribution(q);
    second->distribution(r);
    const std::span<const double> streams[] = {p, q, r};
    const double weights[] = {0.8, 0.13, 0.07};
    mix_streams(streams, weights, mixed);
    ASSERT_NEAR(std::accumulate(mixed.begin(), mixed.end(), 0.0), 1, 1e-9);
  }
}

TEST(Cache, RefusesBadSpecs) {
  for (const char* bad : {"", "decay", "decay:", "decay:x", "unigram:0", "unigram:2.5", "trigram:5",
                          "decay:5,", "decay:-3", "bigram:1e99", "decay:nan"}) {
    const std::string message = message_of(ErrorKind::usage, [&] { parse_cache_specs(bad); });
    EXPECT_NE(message.find("e.g. decay:100,bigram:500"), std::string::npos) << message;
  }
  EXPECT_EQ(parse_cache_specs("unigram:10,decay:2.5").size(), 2u);
  const Corpus text(Lines{{0, 1, 20}}, kWords);
  message_of(ErrorKind::data, [&] {
    cache_probabilities({CacheSpec::Kind::unigram, 5}, text, kV, std::vector<double>(4, 1.0));
  });
}

}  // namespace
}  // namespace unroll::test
