// Sampling from a made-up model: temperature, cuts, greed, seeds, <unk>, line ends.
#include "host/score/generator.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "kernels/base/error.h"

namespace unroll::test {
namespace {

// Ids 0 <eos>, 1 <unk>, 2.. words; p(v) in proportion to the weight, whatever went before.
class FakeNextWord final : public NextWord {
 public:
  explicit FakeNextWord(std::vector<double> weights) {
    double total = 0;
    for (double w : weights) total += w;
    for (double w : weights) log_p_.push_back(std::log(w / total));
    std::string list = "<eos>\n<unk>\n";
    for (size_t v = 2; v < weights.size(); ++v) list += "w" + std::to_string(v) + "\n";
    vocab_ = Vocab::parse(list, Unit::word, "fake");
  }
  const Vocab& vocab() const override { return vocab_; }
  void reset() override { read.clear(); }
  std::vector<double> feed(int32_t token) override {
    read.push_back(token);
    return log_p_;
  }
  double p(int v) const { return std::exp(log_p_[size_t(v)]); }
  std::vector<int32_t> read;

 private:
  Vocab vocab_;
  std::vector<double> log_p_;
};

constexpr int kDraws = 40000;
const std::vector<double> kWeights = {0.5, 4, 3, 1, 2, 0.25, 2.5};

// Chi-square of the drawn counts against p over its support; what has no mass must not be drawn.
void expect_distribution(FakeNextWord& model, SamplingOptions options,
                         const std::map<int, double>& p) {
  options.length = kDraws;
  std::map<int32_t, double> counts;
  for (int32_t v : generate(model, {}, options).ids) ++counts[v];
  double total = 0, chi = 0;
  for (const auto& [v, mass] : p) total += mass;
  for (const auto& [v, mass] : p) {
    const double expected = kDraws * mass / total;
    chi += (counts[v] - expected) * (counts[v] - expected) / expected;
    counts.erase(v);
  }
  EXPECT_TRUE(counts.empty()) << "drew " << counts.begin()->first;
  EXPECT_LT(chi, 30);  // at most 6 degrees of freedom: p below 1e-4
}

std::map<int, double> all_but_unk(const FakeNextWord& m, double temperature = 1) {
  std::map<int, double> p;
  for (int v = 0; v < int(kWeights.size()); ++v)
    if (v != 1) p[v] = std::pow(m.p(v), 1 / temperature);
  return p;
}

TEST(GeneratorTest, DrawsTheDistribution) {
  FakeNextWord model(kWeights);
  expect_distribution(model, {}, all_but_unk(model));
  SamplingOptions unk;
  unk.allow_unk = true;
  std::map<int, double> p = all_but_unk(model);
  p[1] = model.p(1);
  expect_distribution(model, unk, p);
}

TEST(GeneratorTest, Temperature) {
  FakeNextWord model(kWeights);
  for (double temperature : {0.3, 0.8, 3.0}) {
    SamplingOptions o;
    o.temperature = temperature;
    expect_distribution(model, o, all_but_unk(model, temperature));
  }
}

TEST(GeneratorTest, TopK) {
  FakeNextWord model(kWeights);
  SamplingOptions o;
  o.top_k = 3;
  expect_distribution(model, o, {{2, 3}, {6, 2.5}, {4, 2}});
  o.temperature = 2;
  expect_distribution(model, o, {{2, std::sqrt(3)}, {6, std::sqrt(2.5)}, {4, std::sqrt(2)}});
  o.temperature = 1;
  o.top_k = 99;
  expect_distribution(model, o, all_but_unk(model));
}

TEST(GeneratorTest, TopP) {
  FakeNextWord model(kWeights);
  SamplingOptions o;
  // Without <unk> the masses are 3, 2.5, 2, 1, 0.5, 0.25 of 9.25.
  o.top_p = 3.1 / 9.25;
  expect_distribution(model, o, {{2, 3}, {6, 2.5}});
  o.top_p = 2.9 / 9.25;
  expect_distribution(model, o, {{2, 1}});
  o.top_p = 8.6 / 9.25;
  expect_distribution(model, o, {{2, 3}, {6, 2.5}, {4, 2}, {3, 1}, {0, 0.5}});
}

TEST(GeneratorTest, GreedyTakesTheLikeliestAndTheFirstOfEquals) {
  FakeNextWord model(kWeights), equals({1, 1, 2, 3, 3, 1});
  SamplingOptions o, k1;
  o.greedy = true;
  k1.top_k = 1;
  o.length = k1.length = 20;
  EXPECT_EQ(generate(model, {}, o).ids, std::vector<int32_t>(20, 2));
  EXPECT_EQ(generate(model, {}, k1).ids, std::vector<int32_t>(20, 2));
  EXPECT_EQ(generate(equals, {}, o).ids, std::vector<int32_t>(20, 3));
  o.allow_unk = true;
  EXPECT_EQ(generate(model, {}, o).ids, std::vector<int32_t>(20, 1));
}

TEST(GeneratorTest, SeedAndNumberDecide) {
  FakeNextWord model(kWeights);
  SamplingOptions o;
  o.length = 50;
  const auto ids = [&](int sample) { return generate(model, {}, o, sample).ids; };
  const std::vector<int32_t> first = ids(0), second = ids(1);
  EXPECT_EQ(ids(0), first);
  EXPECT_NE(first, second);
  o.seed = 2;
  EXPECT_NE(ids(0), first);
  o.seed = 1;
  // A shorter text is the beginning of a longer one.
  o.length = 20;
  EXPECT_EQ(ids(0), std::vector<int32_t>(first.begin(), first.begin() + 20));
}

TEST(GeneratorTest, ReadsEosPromptAndWhatItDrew) {
  FakeNextWord model(kWeights);
  SamplingOptions o;
  o.length = 4;
  const Generated g = generate(model, {3, 5}, o);
  EXPECT_EQ(g.prompt, (std::vector<int32_t>{3, 5}));
  std::vector<int32_t> expected = {0, 3, 5};
  expected.insert(expected.end(), g.ids.begin(), g.ids.end() - 1);
  EXPECT_EQ(model.read, expected);
  ASSERT_EQ(g.nats.size(), 4u);
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(g.nats[i], -std::log(model.p(g.ids[i])), 1e-12);
}

TEST(GeneratorTest, StopsAtTheLineEnd) {
  FakeNextWord model(kWeights);
  SamplingOptions o;
  o.length = 10000;
  o.until_eos = true;
  const std::vector<int32_t> ids = generate(model, {}, o).ids;
  EXPECT_LT(ids.size(), 10000u);
  EXPECT_EQ(ids.back(), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 1);
  o.length = 0;
  EXPECT_TRUE(generate(model, {}, o).ids.empty());
}

TEST(GeneratorTest, RefusesOptionsOutOfRange) {
  FakeNextWord model(kWeights);
  const auto fails = [&](auto change) {
    SamplingOptions o;
    change(o);
    EXPECT_THROW(generate(model, {}, o), Error);
  };
  fails([](SamplingOptions& o) { o.temperature = 0; });
  fails([](SamplingOptions& o) { o.temperature = NAN; });
  fails([](SamplingOptions& o) { o.top_k = -1; });
  fails([](SamplingOptions& o) { o.top_p = 0; });
  fails([](SamplingOptions& o) { o.top_p = 1.01; });
  fails([](SamplingOptions& o) { o.length = -1; });
}

}  // namespace
}  // namespace unroll::test
