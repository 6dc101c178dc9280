// Counting n-grams by sorting, in bounded memory.
//
// A window is what begins at one position of a sentence: up to N tokens, the first of which may be
// the start of the sentence <s>, ended early by <eos>. Every occurrence of every n-gram, n <= N, is
// the beginning of exactly one window, so the sorted windows hold the forward trie of all orders.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "host/data/corpus.h"
#include "host/ngram/ngram_file.h"
#include "host/ngram/progress.h"

namespace unroll {

struct SortSettings {
  uint64_t memory = uint64_t(4) << 30;  // bytes for windows and trie together
  int threads = 2;
  std::string folder;  // of temporary files, used where memory does not suffice
};

// The windows of a corpus, sorted: packed into 8 to 128 bytes each, sorted by parts in `threads`
// threads, the parts kept in memory or, beyond a third of it, in a temporary file, and merged as
// they are visited.
class SortedWindows {
 public:
  // Reports its progress to `meter` as one stage. Throws Error(resource | disk), and Error(data)
  // where an id is not below V or the corpus is empty.
  SortedWindows(const Corpus& corpus, int64_t V, int order, const SortSettings& settings,
                ProgressMeter& meter);
  ~SortedWindows();

  // words[0 .. length): a distinct window, seen `count` times, whose first `shared` words are those
  // of the window before it.
  using Visit = std::function<void(const uint32_t* words, int length, int shared, uint64_t count)>;
  void for_each(const Visit& visit) const;

  uint64_t size() const;          // windows, repeated ones included
  uint64_t memory_bytes() const;  // held until destruction

  struct Runs;

 private:
  std::unique_ptr<Runs> runs_;
};

// The trie of all n-grams of the corpus with raw counts in place of log10 probabilities; back-off
// weights and links are zero.
NgramFile count_ngrams(const Corpus& corpus, int64_t V, int order, const SortSettings& settings,
                       ProgressMeter& meter);

}  // namespace unroll
