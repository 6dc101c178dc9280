// What a validation or test text has in common with the training text, or lacks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/data/corpus.h"

namespace unroll {

// How much of one text stands in another, counted by whole lines of at least 20 words (80
// characters).
struct Overlap {
  uint64_t long_lines = 0;  // of `valid`
  uint64_t found = 0;       // of these, in `train`
};
Overlap find_overlap(const Corpus& valid, const Corpus& train, Unit unit);

// Warnings about a validation or test text, one line each: more than 20% of its tokens unknown;
// more than 5% of its long lines found in the training text. `name` is what to call it, e.g.
// "valid".
std::vector<std::string> check_split(const Corpus& split, const Corpus& train, Unit unit,
                                     const std::string& name);

}  // namespace unroll
