// What every kind of model offers for scoring text: neural, n-gram, cache or a mixture of them.
#pragma once

#include <cstdint>
#include <vector>

#include "host/data/vocab.h"

namespace unroll {

// A line as ids, its <eos> last, and -log p of each of them in nats.
using TokenLine = std::vector<int32_t>;
using NatsLine = std::vector<double>;

class TokenScorer {
 public:
  virtual ~TokenScorer() = default;
  virtual const Vocab& vocab() const = 0;
  // Lines that follow one another in the text; nats[i][j] belongs to lines[i][j]. Whether line i+1
  // continues from line i or starts anew is the scorer's setting. May be called again with the
  // lines that follow.
  virtual std::vector<NatsLine> score(const std::vector<TokenLine>& lines) = 0;
  // Called after the last line of the text. Throws a data Error where the scorer knows that lines
  // are missing.
  virtual void end_of_text() {}
  // How many tokens to hand over at a time for good speed.
  virtual int64_t tokens_at_once() const = 0;
};

// What a model offers for generating text: the distribution of the next word given all words so
// far.
class NextWord {
 public:
  virtual ~NextWord() = default;
  virtual const Vocab& vocab() const = 0;
  // Forgets all words; the next one then starts a text.
  virtual void reset() = 0;
  // log p of every word after `token` has been read; a text begins with <eos>.
  virtual std::vector<double> feed(int32_t token) = 0;
};

}  // namespace unroll
