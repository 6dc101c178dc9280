// Scores and generates with an n-gram model. Every line is a sentence of its own: nothing is
// carried over its <eos>.
#pragma once

#include <vector>

#include "host/ngram/ngram_model.h"
#include "host/score/token_scorer.h"

namespace unroll {

class NgramScorer final : public TokenScorer {
 public:
  explicit NgramScorer(const NgramModel& model) : model_(model) {}  // borrowed
  const Vocab& vocab() const override { return model_.vocab(); }
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override;
  int64_t tokens_at_once() const override { return 1 << 14; }

 private:
  const NgramModel& model_;
};

class NgramNextWord final : public NextWord {
 public:
  explicit NgramNextWord(const NgramModel& model) : model_(model), state_(model.start()) {}
  const Vocab& vocab() const override { return model_.vocab(); }
  void reset() override { state_ = model_.start(); }
  std::vector<double> feed(int32_t token) override;

 private:
  const NgramModel& model_;
  NgramModel::State state_;
};

}  // namespace unroll
