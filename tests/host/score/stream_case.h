// A tiny language model and a stream of its words, for the scorers that follow a text.
#pragma once

#include <algorithm>

#include "host/data/vocab.h"
#include "host/score/token_scorer.h"
#include "tests/host/core/tiny_lm.h"

namespace unroll::test {

constexpr int kStreamWords = 7;  // <eos> is 0

inline RnnLm::Config stream_config(bool tied = false, double dropout = 0, bool locked = false) {
  RnnLm::Config config;
  config.V = kStreamWords;
  config.E = config.H = 4;
  config.L = 2;
  config.tied = tied;
  config.dropout = dropout;
  config.locked = locked;
  return config;
}

inline Vocab stream_vocab() {
  return Vocab::parse("<eos>\na\nb\nc\nd\ne\nf\n", Unit::word, "stream_vocab");
}

inline int32_t stream_token(int64_t n) { return int32_t((n * n + 3 * n) / 2 % kStreamWords); }

// Tokens 0 .. count-1 of a stream, `line` to a line.
inline std::vector<TokenLine> stream_lines(int64_t count, int64_t line) {
  std::vector<TokenLine> lines;
  for (int64_t n = 0; n < count; ++n) {
    if (n % line == 0) lines.emplace_back();
    lines.back().push_back(n % 3 ? stream_token(5 * n + 2) : stream_token(n));
  }
  return lines;
}

inline std::vector<double> flat(const std::vector<NatsLine>& lines) {
  std::vector<double> all;
  for (const NatsLine& line : lines) all.insert(all.end(), line.begin(), line.end());
  return all;
}

// Scores the lines in two calls, as long texts are.
inline std::vector<double> score_in_two(TokenScorer& scorer, const std::vector<TokenLine>& lines,
                                        size_t first) {
  std::vector<double> nats = flat(scorer.score({lines.begin(), lines.begin() + int64_t(first)}));
  for (double x : flat(scorer.score({lines.begin() + int64_t(first), lines.end()})))
    nats.push_back(x);
  return nats;
}

}  // namespace unroll::test
