// Draws text from a model.
#pragma once

#include <vector>

#include "host/score/token_scorer.h"

namespace unroll {

struct SamplingOptions {
  int length = 100;        // tokens to draw at most
  double temperature = 1;  // > 0
  int top_k = 0;           // only the k likeliest words; 0: all
  double top_p = 1;        // the smallest set of words with at least this mass
  bool greedy = false;     // always the likeliest word
  bool allow_unk = false;  // whether <unk> may be drawn
  bool until_eos = false;  // stop at the first line end
  uint64_t seed = 1;
};

struct Generated {
  std::vector<int32_t> prompt, ids;  // what was read, what was drawn
  std::vector<double>
      nats;  // -log p of each drawn word under the model, before temperature and cuts
};

// Reads <eos> and the prompt, then draws. `sample` numbers the text: each has its own random
// numbers (Philox), whatever was drawn before.
Generated generate(NextWord& model, const std::vector<int32_t>& prompt,
                   const SamplingOptions& options, int sample = 0);

// Throws a usage Error for options out of range.
void check_sampling(const SamplingOptions& options);

}  // namespace unroll
