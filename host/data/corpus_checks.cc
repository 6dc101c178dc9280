// Comparing texts line by line.
#include "host/data/corpus_checks.h"

#include <fmt/format.h>

#include <unordered_set>

namespace unroll {
namespace {

constexpr double kMostOov = 0.2, kMostFound = 0.05;

// Hash of the tokens of line n, at most the first `most`.
uint64_t hash_line(const Corpus& corpus, uint64_t n, uint64_t most) {
  uint64_t hash = fnv1a("");
  const uint64_t begin = corpus.line_start(n);
  const uint64_t end = std::min(corpus.line_start(n + 1), begin + most);
  for (uint64_t i = begin; i < end; ++i) {
    hash = (hash ^ static_cast<uint64_t>(corpus[i])) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace

Overlap find_overlap(const Corpus& valid, const Corpus& train, Unit unit) {
  const uint64_t least = unit == Unit::word ? 20 : 80;
  const auto is_long = [&](const Corpus& corpus, uint64_t n) {
    return corpus.line_start(n + 1) - corpus.line_start(n) > least;  // <eos> is not a word
  };
  // A line of the training text is hashed whole only where its first words are those of some line
  // here, which keeps the pass over it cheap.
  constexpr uint64_t kFirst = 8;
  std::unordered_set<uint64_t> firsts, wholes, found;
  for (uint64_t n = 0; n < valid.lines(); ++n) {
    if (!is_long(valid, n)) continue;
    firsts.insert(hash_line(valid, n, kFirst));
    wholes.insert(hash_line(valid, n, valid.size()));
  }
  for (uint64_t n = 0; n < train.lines(); ++n) {
    if (!is_long(train, n) || !firsts.contains(hash_line(train, n, kFirst))) continue;
    const uint64_t hash = hash_line(train, n, train.size());
    if (wholes.contains(hash)) found.insert(hash);
  }
  Overlap overlap;
  for (uint64_t n = 0; n < valid.lines(); ++n) {
    if (!is_long(valid, n)) continue;
    ++overlap.long_lines;
    overlap.found += found.contains(hash_line(valid, n, valid.size()));
  }
  return overlap;
}

std::vector<std::string> check_split(const Corpus& split, const Corpus& train, Unit unit,
                                     const std::string& name) {
  std::vector<std::string> warnings;
  const double oov = static_cast<double>(split.oov_tokens()) / static_cast<double>(split.size());
  if (oov > kMostOov) {
    std::string most;
    for (size_t i = 0; i < split.top_oov().size() && i < 5; ++i) {
      most += fmt::format("{}'{}' {}", i ? ", " : "", split.top_oov()[i].first,
                          split.top_oov()[i].second);
    }
    warnings.push_back(
        fmt::format("{}: {} of {} tokens ({:.1f}%) are not in the vocabulary, most "
                    "often {}; is it the same language and tokenisation as the "
                    "training text?",
                    name, split.oov_tokens(), split.size(), 100 * oov, most));
  }
  const Overlap overlap = find_overlap(split, train, unit);
  const double share = overlap.long_lines ? static_cast<double>(overlap.found) /
                                                static_cast<double>(overlap.long_lines)
                                          : 0;
  if (share > kMostFound) {
    warnings.push_back(
        fmt::format("{}: {} of its {} long lines ({:.1f}%) stand in the training text as "
                    "well; its perplexity will be too good",
                    name, overlap.found, overlap.long_lines, 100 * share));
  }
  return warnings;
}

}  // namespace unroll
