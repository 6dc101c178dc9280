// Scores and generates with a recurrent language model.
#pragma once

#include "host/score/token_scorer.h"
#include "host/score/token_stream.h"
#include "host/train/scheduler.h"

namespace unroll {

enum class Reset {
  never,  // one stream: the state is carried over line ends, <eos> is read before the first word
  line,   // every line starts from the zero state with <eos>
};

// How the text is cut for the device. It does not change the result beyond rounding: with
// Reset::never the text is one stream whatever B is, and B times T tokens go to the output layer at
// a time.
struct ScoringShape {
  int B = 10, T = 70;
};

// B times T. Throws a usage Error where one of them is below 1, or the product above 2^20.
int tokens_at_a_time(const ScoringShape& shape);

// Options for a scheduler that a NeuralScorer or a NeuralNextWord may use. Throws as
// tokens_at_a_time().
Scheduler::Options scoring_options(Reset reset, const ScoringShape& shape, size_t logits_bytes,
                                   bool eager);

class NeuralScorer final : public TokenScorer {
 public:
  // Borrows everything; the scheduler is of scoring_options() with the same shape.
  NeuralScorer(const Backend& backend, const LanguageModel& model, const ParamStore& params,
               Scheduler& scheduler, const Vocab& vocab, Reset reset, const ScoringShape& shape);

  const Vocab& vocab() const override { return vocab_; }
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override;
  int64_t tokens_at_once() const override { return int64_t(shape_.B) * shape_.T * 8; }

 private:
  std::vector<NatsLine> score_lines(const std::vector<TokenLine>& lines);

  Scheduler& scheduler_;
  const Vocab& vocab_;
  Reset reset_;
  ScoringShape shape_;
  State state_;
  TokenStream stream_;
};

class NeuralNextWord final : public NextWord {
 public:
  NeuralNextWord(const Backend& backend, const LanguageModel& model, const ParamStore& params,
                 Scheduler& scheduler, const Vocab& vocab);
  const Vocab& vocab() const override { return vocab_; }
  void reset() override { fresh_ = true; }
  std::vector<double> feed(int32_t token) override;

 private:
  Scheduler& scheduler_;
  const Vocab& vocab_;
  State state_;
  bool fresh_ = true;
};

}  // namespace unroll
