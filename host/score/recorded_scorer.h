// Takes the scores of a text from a file that a model on another machine, or another program,
// wrote.
#pragma once

#include <string>
#include <vector>

#include "host/score/token_scorer.h"

namespace unroll {

class RecordedScorer final : public TokenScorer {
 public:
  // Reads a file of host/mix/probability_file.h, one probability per token of the text to come.
  // `vocab` is borrowed and only passed on. Throws what read_probabilities() throws.
  RecordedScorer(std::string path, const Vocab& vocab);
  const Vocab& vocab() const override { return vocab_; }
  // Throws a data Error where the text is longer than the file,
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override;
  // or shorter.
  void end_of_text() override;
  int64_t tokens_at_once() const override { return 1 << 14; }

 private:
  std::string path_;
  const Vocab& vocab_;
  std::vector<double> p_;
  size_t next_ = 0;
};

}  // namespace unroll
