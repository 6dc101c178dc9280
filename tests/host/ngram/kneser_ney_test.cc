// Kneser-Ney estimation: a corpus worked by hand, a naive second implementation, normalisation.
#include "host/ngram/kneser_ney.h"

#include <algorithm>

#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

// Lines "a b", "a b", "a c"; V = 5: a b c <eos> <unk>.
//
// Order 2, raw: <s>a 3, ab 2, ac 1, b<eos> 2, c<eos> 1: n = 2, 2, 1, 0; Y = 2/6;
//   D_1 = 1 - 2/3 = 1/3, D_2 = 2 - 3/3 * 1/2 = 3/2, D_3 = 3.
// Order 1, distinct predecessors: a 1, b 1, c 1, <eos> 2, S = 5; n_3 = 0, so the fallback 1/2, 1,
//   3/2: gamma = (3/2 + 1) / 5 = 1/2, 1/10 for every word; p = 0.2 0.2 0.2 0.3 0.1.
// gamma(a) = (1/3 + 3/2) / 3 = 11/18, gamma(b) = (3/2)/2 = 3/4, gamma(c) = 1/3, gamma(<s>) = 1.
TEST(KneserNey, CorpusWorkedByHand) {
  const Vocab vocab = Vocab::parse("a\nb\nc\n<eos>\n<unk>\n", Unit::word, "hand");
  const Corpus text(Lines{{0, 1}, {0, 1}, {0, 2}}, 3);
  const NgramModel model = NgramModel::train(text, vocab, {.order = 2, .discount_fallback = true});

  const NgramInfo info = model.info();
  EXPECT_EQ(info.ngrams, (std::vector<uint64_t>{5, 5}));
  EXPECT_EQ(info.tokens, 9u);
  EXPECT_EQ(info.sentences, 3u);
  EXPECT_EQ(info.discounts[1].n, (std::array<uint64_t, 4>{2, 2, 1, 0}));
  EXPECT_DOUBLE_EQ(info.discounts[1].D[0], 1.0 / 3);
  EXPECT_DOUBLE_EQ(info.discounts[1].D[1], 1.5);
  EXPECT_DOUBLE_EQ(info.discounts[1].D[2], 3.0);
  EXPECT_FALSE(info.discounts[1].fallback);
  EXPECT_EQ(info.discounts[0].n, (std::array<uint64_t, 4>{3, 1, 0, 0}));
  EXPECT_TRUE(info.discounts[0].fallback);

  const double unigram[5] = {0.2, 0.2, 0.2, 0.3, 0.1};
  const double after_a[5] = {11.0 / 90, 0.5 / 3 + 11.0 / 90, 2.0 / 9 + 11.0 / 90, 11.0 / 60,
                             11.0 / 180};
  const double after_b[5] = {0.15, 0.15, 0.15, 0.25 + 0.75 * 0.3, 0.075};
  const double after_c[5] = {0.2 / 3, 0.2 / 3, 0.2 / 3, 2.0 / 3 + 0.1, 0.1 / 3};
  for (int32_t w = 0; w < 5; ++w) {
    EXPECT_NEAR(std::exp(model.log_prob({}, w)), unigram[w], 1e-14);  // gamma(<s>) = 1, D_3 = 3
    const int32_t a[] = {0}, b[] = {0, 1}, c[] = {1, 3, 0, 2}, unknown[] = {4}, next[] = {0, 3};
    EXPECT_NEAR(std::exp(model.log_prob(a, w)), after_a[w], 1e-14);
    EXPECT_NEAR(std::exp(model.log_prob(b, w)), after_b[w], 1e-14);
    EXPECT_NEAR(std::exp(model.log_prob(c, w)), after_c[w], 1e-14);
    EXPECT_NEAR(std::exp(model.log_prob(unknown, w)), unigram[w], 1e-14);
    EXPECT_NEAR(std::exp(model.log_prob(next, w)), unigram[w], 1e-14);
  }
  std::vector<double> nats(9);
  const double sum = model.score(text, nats);
  EXPECT_NEAR(sum,
              3 * std::log(unigram[0]) + 2 * std::log(after_a[1]) + std::log(after_a[2]) +
                  2 * std::log(after_b[3]) + std::log(after_c[3]),
              1e-12);
}

class KneserNeyOrder : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Orders, KneserNeyOrder, ::testing::Values(1, 2, 3, 4, 7));

TEST_P(KneserNeyOrder, AgreesWithTheDefinition) {
  const int order = GetParam(), words = 23;
  const Lines lines = random_lines(words, 400, 7);
  const Vocab vocab = small_vocab(words);
  const NgramModel model =
      NgramModel::train(Corpus(lines, words), vocab, {.order = order, .discount_fallback = true});
  const NgramInfo info = model.info();
  std::vector<std::array<double, 3>> discounts;
  for (const auto& d : info.discounts) discounts.push_back(d.D);
  const NaiveKneserNey naive(lines, order, words, vocab.size(), discounts);

  for (int n = 1; n <= order; ++n) {
    const NgramDiscounts& d = info.discounts[size_t(n) - 1];
    EXPECT_EQ(d.n, naive.counts_of_counts(size_t(n))) << "order " << n;
    if (d.fallback) continue;
    const double Y = double(d.n[0]) / double(d.n[0] + 2 * d.n[1]);
    for (size_t j = 1; j <= 3; ++j) {
      EXPECT_NEAR(d.D[j - 1], double(j) - double(j + 1) * Y * double(d.n[j]) / double(d.n[j - 1]),
                  1e-12);
    }
  }
  std::mt19937 random(3);
  for (int trial = 0; trial < 400; ++trial) {
    // Half of the histories are from the text, half random.
    std::vector<int32_t> history;
    if (trial % 2 == 0) {
      history = lines[random() % lines.size()];
      history.resize(random() % (history.size() + 1));
    } else {
      for (uint32_t i = random() % 8; i > 0; --i) {
        history.push_back(int32_t(random() % uint32_t(words)));
      }
    }
    const int32_t word = int32_t(random() % uint32_t(vocab.size()));
    std::vector<int32_t> from_start = history;
    from_start.insert(from_start.begin(), NaiveKneserNey::kStart);
    const double expected = naive.probability(from_start, word);
    EXPECT_NEAR(std::exp(model.log_prob(history, word)) / expected, 1, 1e-12);
  }
}

TEST_P(KneserNeyOrder, SumsToOneAfterAnyHistory) {
  const int words = 61;
  const NgramModel model =
      NgramModel::train(Corpus(random_lines(words, 900, 11), words), small_vocab(words),
                        {.order = GetParam(), .discount_fallback = true});
  std::mt19937 random(5);
  std::vector<double> p(size_t(model.vocab().size()));
  for (int trial = 0; trial < 200; ++trial) {
    const NgramModel::State state = random_state(model, random, 9);
    EXPECT_NEAR(total_probability(model, state), 1, 1e-9);
    model.distribution(state, p);
    EXPECT_NEAR(std::accumulate(p.begin(), p.end(), 0.0), 1, 1e-9);
    const int32_t w = int32_t(random() % uint32_t(p.size()));
    NgramModel::State next = state;
    EXPECT_NEAR(p[size_t(w)] / std::exp(model.advance(next, w)), 1, 1e-12);
  }
}

TEST(KneserNey, SamplesFromTheDistribution) {
  const int words = 17;
  const NgramModel model =
      NgramModel::train(Corpus(random_lines(words, 300, 2), words), small_vocab(words),
                        {.order = 3, .discount_fallback = true});
  NgramModel::State state = model.start();
  model.advance(state, 3);
  std::vector<double> p(size_t(model.vocab().size())), drawn(p.size(), 0);
  model.distribution(state, p);
  const int draws = 20000;
  for (int i = 0; i < draws; ++i) drawn[size_t(model.sample(state, (i + 0.5) / draws))] += 1;
  for (size_t w = 0; w < p.size(); ++w) EXPECT_NEAR(drawn[w] / draws, p[w], 1.0 / draws);
}

TEST(KneserNey, ThreadsAndMemoryDoNotChangeABit) {
  const TemporaryFolder folder;
  const int words = 300;
  const Corpus text(random_lines(words, 3000, 13), words);
  const Vocab vocab = small_vocab(words);
  const auto saved = [&](const NgramOptions& options, const std::string& name) {
    const std::string path = folder.file(name);
    NgramModel::train(text, vocab, options).save(path);
    return read_bytes(path);
  };
  const std::string one = saved({.order = 4, .discount_fallback = true, .threads = 1}, "one");
  EXPECT_EQ(one, saved({.order = 4, .discount_fallback = true, .threads = 3}, "three"));
  // About 20,000 windows in runs of 1,365, merged from temporary files, the trie in another.
  EXPECT_EQ(one, saved({.order = 4,
                        .discount_fallback = true,
                        .memory = 32768,
                        .threads = 2,
                        .folder = folder.file("")},
                       "spilled"));
}

TEST(KneserNey, ReportsProgressToTheEnd) {
  std::vector<NgramProgress> seen;
  NgramOptions options{.order = 3, .discount_fallback = true};
  options.progress = [&](const NgramProgress& p) { seen.push_back(p); };
  NgramModel::train(Corpus(random_lines(9, 50, 1), 9), small_vocab(9), options);
  ASSERT_GE(seen.size(), 4u);
  EXPECT_EQ(seen.front().fraction, 0);
  EXPECT_EQ(seen.back().fraction, 1);
  EXPECT_TRUE(std::ranges::is_sorted(seen, {}, &NgramProgress::fraction));
}

TEST(KneserNey, RefusesBadInput) {
  const Vocab vocab = small_vocab(4);
  const Corpus text(Lines{{0, 1, 2}, {0, 1, 3}}, 4);
  std::string message =
      message_of(ErrorKind::data, [&] { NgramModel::train(text, vocab, {.order = 3}); });
  EXPECT_NE(message.find("order 1"), std::string::npos) << message;
  EXPECT_NE(message.find("0.5, 1, 1.5 with --discount-fallback"), std::string::npos) << message;

  message = message_of(ErrorKind::data, [&] { NgramModel::train(Corpus(), vocab, {}); });
  EXPECT_NE(message.find("0 tokens"), std::string::npos) << message;

  const Corpus foreign(Lines{{0, 1, 9}}, 4);
  message = message_of(ErrorKind::data, [&] { NgramModel::train(foreign, vocab, {}); });
  EXPECT_NE(message.find("line 1"), std::string::npos) << message;
  EXPECT_NE(message.find("id 9"), std::string::npos) << message;

  message_of(ErrorKind::usage, [&] { NgramModel::train(text, vocab, {.order = 17}); });
  message_of(ErrorKind::usage, [&] { NgramModel::train(text, vocab, {.order = 0}); });
  message_of(ErrorKind::usage, [&] {
    NgramModel::train(text, vocab, {.order = 2, .min_count = {1, 1, 1}});
  });
  message_of(ErrorKind::usage,
             [&] { NgramModel::train(text, vocab, {.order = 2, .min_count = {2}}); });
  message_of(ErrorKind::usage, [&] { NgramModel::train(text, vocab, {.order = 2, .prune = -1}); });

  const NgramModel model = NgramModel::train(text, vocab, {.order = 2, .discount_fallback = true});
  message_of(ErrorKind::usage, [&] { model.log_prob({}, 6); });
  std::vector<double> nats(foreign.size());
  message_of(ErrorKind::data, [&] { model.score(foreign, nats); });
}

TEST(Discounts, OutsideTheirRangeNameOrderAndFallback) {
  NgramDiscounts discounts;
  discounts.n = {10, 5, 20, 1};  // Y = 1/2, D_2 = 2 - 3/2 * 4 < 0
  const std::string message =
      message_of(ErrorKind::data, [&] { compute_discounts(4, std::nullopt, discounts); });
  EXPECT_NE(message.find("order 4"), std::string::npos) << message;
  EXPECT_NE(message.find("D_2 = -4"), std::string::npos) << message;
  compute_discounts(4, kFallbackDiscounts, discounts);
  EXPECT_TRUE(discounts.fallback);
  EXPECT_EQ(discounts.D, kFallbackDiscounts);
}

}  // namespace
}  // namespace unroll::test
