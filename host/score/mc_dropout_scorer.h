// Monte-Carlo dropout: the average over noisy passes of the probability of each token.
//
//   p(w_t) = (1/K) sum_k p_k(w_t)
//
// Gal & Ghahramani 2016 ("A theoretically grounded application of dropout in recurrent neural
// networks"). Masks are those of training, but for those of whole words: all are fed. Masks that
// training holds over a chunk are held over the whole text in each pass; masks of single steps are
// new at every step.
#pragma once

#include <vector>

#include "host/score/neural_scorer.h"
#include "host/score/token_stream.h"

namespace unroll {

struct McDropoutOptions {
  int passes = 0;  // K
  uint64_t seed = 1;
  bool locked = false;  // training holds masks over a chunk
};

class McDropoutScorer final : public TokenScorer {
 public:
  // The passes that run side by side as lanes. Lanes share masks of weights, where a model has
  // such; with shape.B = 1 every pass is on its own.
  static int lanes(const McDropoutOptions& options, const ScoringShape& shape);

  // Borrows everything. The scheduler has room for shape.T steps of lanes(..) lanes.
  McDropoutScorer(const Backend& backend, const LanguageModel& model, const ParamStore& params,
                  Scheduler& scheduler, const Vocab& vocab, const McDropoutOptions& options,
                  const ScoringShape& shape);

  const Vocab& vocab() const override { return vocab_; }
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override;
  int64_t tokens_at_once() const override { return int64_t(T_) * 64; }

 private:
  const Backend& backend_;
  Scheduler& scheduler_;
  const Vocab& vocab_;
  McDropoutOptions options_;
  int B_, T_;
  State state_;
  std::vector<Buffer> carried_;  // the state of each group of passes between calls
  TokenStream stream_;
  uint64_t chunks_ = 0;  // of the text so far
};

}  // namespace unroll
