// Reads text, scores it line by line, and adds up what perplexities need.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/data/text_source.h"
#include "host/score/token_scorer.h"

namespace unroll {

// One input line and its scores; every line of the text gives exactly one, empty lines included.
struct ScoredLine {
  std::string text;
  std::vector<std::string> tokens;  // as written, without <eos>
  TokenLine ids;                    // with <eos> last; unknown words as <unk>
  std::vector<bool> unknown;        // by position in ids: a word mapped to <unk>
  NatsLine nats;                    // by position in ids
};

// Scores the lines of `source` in order. Throws what the source and the vocabulary throw.
void score_text(TokenScorer& scorer, TextSource& source,
                const std::function<void(const ScoredLine&)>& each_line);

// Sums over scored lines. All losses in nats.
struct TextTotals {
  int64_t lines = 0;
  int64_t tokens = 0;   // scored, one <eos> per line included
  int64_t unknown = 0;  // words mapped to <unk>
  double nats = 0;
  double nats_unknown = 0;  // the part of `nats` that unknown words have
  int64_t words =
      0;  // of the text, between white space, whatever the unit; line ends not among them
  int64_t characters = 0;  // of the text, line ends included: code points
  void add(const ScoredLine& line);
};

}  // namespace unroll
