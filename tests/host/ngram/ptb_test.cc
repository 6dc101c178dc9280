// Published figures on the Penn Treebank, run where the environment variable UNROLL_PTB names the
// folder of its train, valid and test text.
#include <cstdlib>

#include "host/data/splits.h"
#include "host/mix/em_mixture.h"
#include "host/ngram/cache.h"
#include "tests/host/ngram/ngram_harness.h"

namespace unroll::test {
namespace {

class PennTreebank : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("UNROLL_PTB");
    if (!folder) GTEST_SKIP() << "set UNROLL_PTB to the folder of the Penn Treebank text";
    const Splits splits = find_splits(folder);
    vocab_ = Vocab(count_types({splits.train}, "UNROLL_PTB", Unit::word), {});
    train_ = encode(splits.train);
    valid_ = encode(splits.valid);
    test_ = encode(splits.test);
  }
  Corpus encode(const std::string& path) { return Corpus({{path}, "UNROLL_PTB"}, vocab_, ""); }

  static std::vector<double> probabilities(const NgramModel& model, const Corpus& text) {
    std::vector<double> p(text.size());
    model.score(text, p, 2);
    for (double& x : p) x = std::exp(x);
    return p;
  }
  static double perplexity(const NgramModel& model, const Corpus& text) {
    std::vector<double> nats(text.size());
    return std::exp(-model.score(text, nats, 2) / double(text.size()));
  }

  Vocab vocab_;
  Corpus train_, valid_, test_;
};

// Half a unit of the second decimal: what the figures are given with.
constexpr double kSecondDecimal = 0.00501;

TEST_F(PennTreebank, EveryOrderHasItsPerplexity) {
  ASSERT_EQ(vocab_.size(), 10000);
  struct Figures {
    int order;
    double valid, test;
  };
  for (const Figures& f : {Figures{2, 199.02, 185.70}, Figures{3, 157.77, 148.28},
                           Figures{4, 149.90, 142.72}, Figures{6, 147.36, 140.84}}) {
    const NgramModel model = NgramModel::train(train_, vocab_, {.order = f.order});
    EXPECT_NEAR(perplexity(model, valid_), f.valid, kSecondDecimal) << "order " << f.order;
    EXPECT_NEAR(perplexity(model, test_), f.test, kSecondDecimal) << "order " << f.order;
  }
  const NgramModel cut = NgramModel::train(train_, vocab_, {.min_count = {1, 1, 1, 1, 2}});
  EXPECT_NEAR(perplexity(cut, valid_), 148.42, kSecondDecimal);
  EXPECT_NEAR(perplexity(cut, test_), 141.46, kSecondDecimal);
}

TEST_F(PennTreebank, FiveGramCountsDiscountsAndCaches) {
  const NgramModel model = NgramModel::train(train_, vocab_, {.order = 5});
  struct Row {
    uint64_t types;
    std::array<uint64_t, 4> n;
    std::array<double, 3> D;
  };
  const Row rows[] = {{10000, {176, 255, 388, 657}, {0.2566, 0.8289, 1.2623}},
                      {264990, {187829, 35124, 14498, 7613}, {0.7278, 1.0988, 1.4713}},
                      {586558, {521401, 39342, 11250, 5023}, {0.8689, 1.2546, 1.4482}},
                      {717733, {687353, 20840, 4545, 1890}, {0.9428, 1.3831, 1.4317}},
                      {737952, {714969, 15023, 3194, 1463}, {0.9597, 1.3879, 1.2417}}};
  const NgramInfo info = model.info();
  for (size_t n = 0; n < 5; ++n) {
    EXPECT_EQ(info.ngrams[n], rows[n].types);
    EXPECT_EQ(info.discounts[n].types, rows[n].types);
    EXPECT_EQ(info.discounts[n].n, rows[n].n);
    for (size_t j = 0; j < 3; ++j) EXPECT_NEAR(info.discounts[n].D[j], rows[n].D[j], 0.0000501);
  }
  EXPECT_NEAR(perplexity(model, valid_), 148.01, kSecondDecimal);
  EXPECT_NEAR(perplexity(model, test_), 141.19, kSecondDecimal);

  const std::vector<double> on_valid = probabilities(model, valid_);
  const std::vector<double> on_test = probabilities(model, test_);
  struct Cached {
    const char* caches;
    double valid, test;
  };
  for (const Cached& c :
       {Cached{"unigram:200", 130.26, 126.77}, Cached{"decay:100", 128.61, 125.21},
        Cached{"unigram:500,bigram:500", 124.77, 121.00}}) {
    std::vector<std::vector<double>> valid = {on_valid}, test = {on_test};
    for (const CacheSpec& spec : parse_cache_specs(c.caches)) {
      valid.push_back(cache_probabilities(spec, valid_, vocab_.size(), on_valid));
      test.push_back(cache_probabilities(spec, test_, vocab_.size(), on_test));
    }
    const std::vector<std::span<const double>> tune(valid.begin(), valid.end());
    const std::vector<std::span<const double>> run(test.begin(), test.end());
    const Mixture mixture = fit_mixture(tune);
    std::vector<double> mixed(test_.size());
    const double nats = mix_streams(run, mixture.weights, mixed);
    EXPECT_NEAR(std::exp(-mixture.nats / double(valid_.size())), c.valid, kSecondDecimal);
    EXPECT_NEAR(std::exp(-nats / double(test_.size())), c.test, kSecondDecimal);
  }
}

}  // namespace
}  // namespace unroll::test
