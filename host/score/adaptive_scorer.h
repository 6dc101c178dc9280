// Scores one stream with a model that follows it: a continuous cache of the hidden states seen
// last, weights that are updated after each segment, or both.
//
//   p(w) = (1 - lambda) p_model(w) + lambda p_cache(w)
//
// Grave, Joulin & Usunier 2016; Krause et al. 2018. While the cache is empty, at the first token,
// p is p_model's. With both, the cache holds the states that the moving weights gave. A segment is
// scored first and learnt from afterwards, so no probability depends on the word it belongs to.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "host/ops/neural_cache.h"
#include "host/score/dynamic_evaluation.h"
#include "host/score/token_scorer.h"
#include "host/score/token_stream.h"
#include "kernels/base/error.h"

namespace unroll {

struct CacheOptions {
  CacheSetting setting{500, 0.3};
  double lambda = 0.1;  // the cache's share
};

// The moving weights left the numbers, or gave a word a probability below 1e-308; a divergence
// Error.
class AdaptationDiverged : public Error {
 public:
  AdaptationDiverged();
};

class AdaptiveScorer final : public TokenScorer, private ScoreHook {
 public:
  // What adapts; neither is a plain model.
  struct Options {
    std::optional<CacheOptions> cache{};
    // Other settings of the cache, for part_logs() only.
    std::vector<CacheSetting> more_settings{};
    std::optional<DynamicOptions> dynamic{};
    const GradientStatistics* statistics = nullptr;  // with dynamic
  };
  // Tokens per chunk where the caller wants `wanted`: a segment, or what the cache has room for.
  static int chunk_length(const Options& options, int wanted);

  // Borrows everything. The scheduler has room for `length` = chunk_length(..) tokens in one lane
  // and does nothing else until this scorer's end, which restores the weights.
  AdaptiveScorer(const Backend& backend, const LanguageModel& model, const ParamStore& params,
                 Scheduler& scheduler, const Vocab& vocab, const Options& options, int length);

  const Vocab& vocab() const override { return vocab_; }
  // Throws AdaptationDiverged.
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override;
  // With moving weights a segment ends early where a call does, so calls are long.
  int64_t tokens_at_once() const override;

  // log p of every token of the lines under the model, then under each setting of the cache:
  // [1+K][token]. Goes on with the text as score() does.
  std::vector<std::vector<double>> part_logs(const std::vector<TokenLine>& lines);

 private:
  void scored(Tape& tape, const Var& hidden, const Chunk& chunk) override;
  void differentiated(const Exec& exec) override;

  Scheduler& scheduler_;
  const Vocab& vocab_;
  double lambda_ = 0;
  int length_;
  State state_;
  TokenStream stream_;
  std::unique_ptr<NeuralCache> cache_;
  std::unique_ptr<DynamicWeights> weights_;
  ScorePass pass_;
};

}  // namespace unroll
