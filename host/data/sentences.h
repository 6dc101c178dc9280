// Sentence batching: every line is a sequence of its own, batched with others of about its length.
#pragma once

#include <cstdint>
#include <vector>

#include "host/data/chunk.h"
#include "host/data/corpus.h"

namespace unroll {

enum class SentenceOrder {
  shuffled,  // by (seed, epoch): a counter-based permutation, then sorted by length within each
             // pool
  plain,     // line after line, as scoring needs it
};

struct SentenceOptions {
  int B = 1;
  int max_T =
      256;  // longer lines are cut into pieces, each a sequence that starts from a zero state
  SentenceOrder order = SentenceOrder::shuffled;
  uint64_t seed = 0;
};

// A line w1 .. wn is read as <eos> w1 .. wn and predicts w1 .. wn <eos>; a later piece of a long
// line first reads the token before it. T of a batch is its longest sequence rounded up to a
// multiple of 8 (at most max_T); shorter ones are padded with target -1, and lengths[b] says where
// each ends. The last batch of an epoch may have empty lanes (length 0).
//
// Shuffled order needs no list of lines: sequence i of an epoch is a pseudo-random permutation of i
// (a Feistel network keyed by seed and epoch), 128 batches are drawn as a pool, sorted by length,
// cut into batches, and these are shuffled.
class Sentences : public ChunkSource {
 public:
  // Borrows the corpus. Throws a usage Error where B is below 1 or max_T below 8.
  Sentences(const Corpus& corpus, const SentenceOptions& options);

  int64_t chunks(int64_t epoch = 0) const override;
  void fill(int64_t epoch, int64_t k, HostChunk& out) override;
  int max_T() const override { return max_T_; }
  int B() const override { return options_.B; }

  int64_t sequences() const { return static_cast<int64_t>(corpus_.lines() + cuts_.size()); }
  int64_t long_lines() const { return long_lines_; }  // lines that were cut

  // Which tokens [begin, end) sequence i of the text predicts; i < lines() is the first piece of
  // line i.
  struct Span {
    uint64_t begin = 0, end = 0;
  };
  Span span(uint64_t i) const;

 private:
  void load_pool(int64_t epoch, int64_t pool);
  static constexpr uint64_t kNone = ~uint64_t{0};  // an empty lane

  const Corpus& corpus_;
  SentenceOptions options_;
  int max_T_ = 0;
  int64_t long_lines_ = 0;
  std::vector<Span> cuts_;  // pieces of long lines after the first
  int64_t pool_epoch_ = -1, pool_index_ = -1;
  std::vector<uint64_t> pool_;  // sequences in batch order
};

}  // namespace unroll
