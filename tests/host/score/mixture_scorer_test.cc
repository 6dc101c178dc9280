// Mixtures behind the interfaces of scoring and generating: what they sum to, that both agree, and
// recorded probabilities in place of a model.
#include "host/score/mixture_scorer.h"

#include "host/mix/probability_file.h"
#include "host/score/ngram_scorer.h"
#include "host/score/recorded_scorer.h"
#include "tests/host/ngram/ngram_harness.h"

namespace unroll {
namespace {

constexpr int kWords = 11;

struct Models {
  Vocab vocab = test::small_vocab(kWords);
  Corpus text{test::random_lines(kWords, 60, 5), vocab.eos()};
  NgramModel trigram = NgramModel::train(text, vocab, {.order = 3, .discount_fallback = true});
  NgramModel unigram = NgramModel::train(text, vocab, {.order = 1, .discount_fallback = true});
  std::vector<CacheSpec> caches = parse_cache_specs("decay:7,unigram:5,bigram:9");
  std::vector<double> weights = {0.4, 0.2, 0.15, 0.05, 0.2};
};

std::vector<TokenLine> lines_to_score(const Vocab& vocab) {
  std::vector<TokenLine> lines = test::random_lines(kWords, 8, 77);
  for (TokenLine& line : lines) line.push_back(vocab.eos());
  return lines;
}

std::vector<std::unique_ptr<TokenScorer>> scorers(const Models& m) {
  std::vector<std::unique_ptr<TokenScorer>> all;
  all.push_back(std::make_unique<NgramScorer>(m.trigram));
  all.push_back(std::make_unique<NgramScorer>(m.unigram));
  return all;
}

TEST(MixtureScorer, SumsToOneAndAgreesWithGeneration) {
  const Models m;
  const std::vector<TokenLine> lines = lines_to_score(m.vocab);
  MixtureScorer scorer(scorers(m), m.caches, m.weights);
  // In two pieces: caches go on where the first ended.
  std::vector<NatsLine> nats = scorer.score({lines.begin(), lines.begin() + 3});
  for (NatsLine& line : scorer.score({lines.begin() + 3, lines.end()}))
    nats.push_back(std::move(line));

  std::vector<std::unique_ptr<NextWord>> next;
  next.push_back(std::make_unique<NgramNextWord>(m.trigram));
  next.push_back(std::make_unique<NgramNextWord>(m.unigram));
  MixtureNextWord generator(std::move(next), m.caches, m.weights);
  for (int pass = 0; pass < 2; ++pass) {  // the second one from reset()
    generator.reset();
    std::vector<double> log_p = generator.feed(m.vocab.eos());
    for (size_t i = 0; i < lines.size(); ++i)
      for (size_t j = 0; j < lines[i].size(); ++j) {
        double sum = 0;
        for (const double x : log_p) sum += std::exp(x);
        EXPECT_NEAR(sum, 1, 1e-12);
        EXPECT_NEAR(-log_p[size_t(lines[i][j])], nats[i][j], 1e-12) << i << " " << j;
        log_p = generator.feed(lines[i][j]);
      }
  }
}

TEST(MixtureScorer, TakesRecordedProbabilities) {
  const Models m;
  const std::vector<TokenLine> lines = lines_to_score(m.vocab);
  std::vector<double> p;
  for (const NatsLine& line : NgramScorer(m.unigram).score(lines))
    for (const double nats : line) p.push_back(std::exp(-nats));
  const std::string path = testing::TempDir() + "/recorded" + std::to_string(getpid()) + ".f32";
  write_probabilities(path, p);

  std::vector<std::unique_ptr<TokenScorer>> parts;
  parts.push_back(std::make_unique<NgramScorer>(m.trigram));
  parts.push_back(std::make_unique<RecordedScorer>(path, m.vocab));
  const auto got = MixtureScorer(std::move(parts), {}, {0.3, 0.7}).score(lines);
  const auto want = MixtureScorer(scorers(m), {}, {0.3, 0.7}).score(lines);
  for (size_t i = 0; i < lines.size(); ++i)
    for (size_t j = 0; j < lines[i].size(); ++j) EXPECT_NEAR(got[i][j], want[i][j], 1e-7);

  const auto error_of = [](auto&& action) -> std::string {
    try {
      action();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::data);
      return e.what();
    }
    return "no error";
  };
  const std::vector<TokenLine> shorter(lines.begin(), lines.end() - 1);
  RecordedScorer left_over(path, m.vocab), exhausted(path, m.vocab);
  left_over.score(shorter);
  EXPECT_NE(error_of([&] { left_over.end_of_text(); }).find("probabilities, the text has"),
            std::string::npos);
  exhausted.score(lines);
  EXPECT_NE(error_of([&] { exhausted.score(lines); }).find("the text has more tokens"),
            std::string::npos);
  std::filesystem::remove(path);
}

TEST(MixtureScorer, ChecksWeights) {
  EXPECT_EQ(check_weights(std::vector<double>{0.25, 0.75}, 2), (std::vector<double>{0.25, 0.75}));
  const auto scaled = check_weights(std::vector<double>{0.3333, 0.6666}, 2);
  EXPECT_NEAR(scaled[0] + scaled[1], 1, 1e-15);
  for (const std::vector<double>& wrong :
       std::vector<std::vector<double>>{{1}, {0.5, 0.6}, {1.5, -0.5}})
    EXPECT_THROW(check_weights(wrong, 2), Error);
}

}  // namespace
}  // namespace unroll
