// Linear interpolation of models and caches over one vocabulary, behind the interfaces of scoring
// and generating: p(w) = sum_m weight_m p_m(w).
//
// The parts are the models in their order, then the caches. A cache runs over all lines, whatever
// the models do at line ends; while it is empty, at the first token, its weight goes to the first
// model, so that probabilities always sum to 1.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "host/data/text_source.h"
#include "host/mix/em_mixture.h"
#include "host/ngram/cache.h"
#include "host/score/token_scorer.h"

namespace unroll {

class MixtureScorer final : public TokenScorer {
 public:
  // One weight per part, as check_weights() wants them. Needs a model; all have the vocabulary of
  // the first.
  MixtureScorer(std::vector<std::unique_ptr<TokenScorer>> models,
                const std::vector<CacheSpec>& caches, std::vector<double> weights);

  const Vocab& vocab() const override { return models_[0]->vocab(); }
  // Throws a data Error where all parts give a token probability 0.
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override;
  void end_of_text() override;
  int64_t tokens_at_once() const override;

  // The probability of every token of the lines under every part, [part][token]. Goes on with the
  // text as score() does.
  std::vector<std::vector<double>> part_probabilities(const std::vector<TokenLine>& lines);

 private:
  std::vector<std::unique_ptr<TokenScorer>> models_;
  std::vector<std::unique_ptr<WordCache>> caches_;
  std::vector<double> weights_;
};

// The weights under which the mixture gives the text the highest probability. Holds one number per
// part and token. Throws what scoring and fit_mixture() throw.
Mixture tune_mixture(std::vector<std::unique_ptr<TokenScorer>> models,
                     const std::vector<CacheSpec>& caches, TextSource& text);

class MixtureNextWord final : public NextWord {
 public:
  MixtureNextWord(std::vector<std::unique_ptr<NextWord>> models, std::vector<CacheSpec> caches,
                  std::vector<double> weights);
  const Vocab& vocab() const override { return models_[0]->vocab(); }
  void reset() override;
  // The <eos> that begins a text is read by the models and is no word of it, so the caches do not
  // hold it.
  std::vector<double> feed(int32_t token) override;

 private:
  std::vector<std::unique_ptr<NextWord>> models_;
  std::vector<CacheSpec> specs_;
  std::vector<std::unique_ptr<WordCache>> caches_;
  std::vector<double> weights_;
  bool fresh_ = true;
};

// Weights given by hand, scaled to sum to exactly 1. Throws a usage Error where they are not one
// per part, none below 0, with a sum within 0.001 of 1.
std::vector<double> check_weights(std::span<const double> weights, size_t parts);

}  // namespace unroll
