// A text as one stream of tokens in chunks of one lane: each token is predicted from those before
// it, the first from <eos>.
#pragma once

#include <functional>
#include <vector>

#include "host/data/chunk.h"
#include "host/score/token_scorer.h"

namespace unroll {

class TokenStream {
 public:
  explicit TokenStream(int32_t eos) : last_(eos) {}

  // Hands the tokens of the lines to `each` in order, in chunks of `length` tokens; only the last
  // may be shorter. The stream's first chunk starts from the zero state. `first` counts the tokens
  // of these lines before the chunk.
  void walk(const std::vector<TokenLine>& lines, int length,
            const std::function<void(const HostChunk& chunk, size_t first)>& each);

  // Whether nothing has been read yet.
  bool fresh() const { return fresh_; }

 private:
  int32_t last_;       // the token read before the next one
  bool fresh_ = true;  // the next chunk starts from the zero state
};

// One number per token, as one for each token of each line.
std::vector<NatsLine> split_by_lines(const std::vector<TokenLine>& lines,
                                     const std::vector<double>& values);
size_t count_tokens(const std::vector<TokenLine>& lines);

}  // namespace unroll
