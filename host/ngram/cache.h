// Cache language models: a distribution over the words seen last, to be mixed with any model.
//
// With w_1, w_2, .. the words before the one predicted, latest first:
//   unigram, window K     p(w) = (1/K) sum_{i<=K} [w_i = w]
//   unigram, decaying     p(w) = sum_i e^{-lambda i} [w_i = w] / sum_i e^{-lambda i}
//   bigram, window K      p(w) as the first, over those i <= K whose w_{i+1} is w_1; where there
//                         are none, the unigram window of the same K
// A cache runs over a whole text: it is not cleared at sentence ends and holds <eos> and <unk> like
// any word. Kuhn & De Mori, "A cache-based natural language model for speech recognition", 1990.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "host/data/corpus.h"

namespace unroll {

// What a cache has seen. add() takes constant time.
class WordCache {
 public:
  virtual ~WordCache() = default;
  // Takes in the next word of the text, 0 <= id < V.
  virtual void add(int32_t id) = 0;
  // Whether nothing was seen yet; then there is no distribution.
  virtual bool empty() const = 0;
  // p(id) given all words added.
  virtual double probability(int32_t id) const = 0;
  // p(id) for all id < V = p.size(), summing to 1; zeros for an empty cache.
  virtual void distribution(std::span<double> p) const = 0;
};

struct CacheSpec {
  enum class Kind { unigram, decay, bigram };
  Kind kind = Kind::decay;
  double words = 100;  // window K; for the decaying cache 1 / lambda
};

// Reads a list such as "decay:100,bigram:500": kinds unigram, decay and bigram, each with its
// number of words. Throws Error(usage).
std::vector<CacheSpec> parse_cache_specs(const std::string& text);
std::string name_of(const CacheSpec& spec);  // "decay:100"

std::unique_ptr<WordCache> make_cache(const CacheSpec& spec, int64_t V);

// Probability of every token of a text under a cache that has seen the tokens before it; where the
// cache is empty, that of `model` (text.size() values) takes its place. The result is a stream for
// fit_mixture() beside the model's.
std::vector<double> cache_probabilities(const CacheSpec& spec, const Corpus& text, int64_t V,
                                        std::span<const double> model);

}  // namespace unroll
