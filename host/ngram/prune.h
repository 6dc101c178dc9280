// Making an n-gram model smaller: n-grams are dropped and back-off weights normalised anew,
//   b(h) = (1 - sum_kept p(w|h)) / (1 - sum_kept p(w|h')),
// the probabilities of the kept ones staying as they are. Unigrams are never dropped, nor is an
// n-gram that a kept one begins with.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/ngram/ngram_file.h"

namespace unroll {

// Per level 2..N (index n) one byte per n-gram: whether it is kept. Empty: all are.
using NgramKeep = std::vector<std::vector<uint8_t>>;

// The kept part of `file`; `counts`, one vector per level or none at all, loses the same entries.
// Allocates as NgramFile::allocate() with `memory` and `folder`.
NgramFile drop_ngrams(const NgramFile& file, NgramKeep keep,
                      std::vector<std::vector<uint64_t>>& counts, size_t memory,
                      const std::string& folder);

// What keeps n-grams seen at least min_count[n-1] times (1 or missing: all of that order);
// counts[n] holds the counts of level n.
NgramKeep keep_frequent(const std::vector<std::vector<uint64_t>>& counts,
                        const std::vector<uint64_t>& min_count);

// What keeps n-grams whose removal would raise the perplexity of the model's own distribution by
// the fraction `threshold` or more. P(h) is the relative frequency of h, from counts[n] of level n.
// Stolcke, "Entropy-based pruning of backoff language models", 1998, equations 3 to 5.
NgramKeep keep_informative(const NgramFile& file, const std::vector<std::vector<uint64_t>>& counts,
                           double threshold);

}  // namespace unroll
