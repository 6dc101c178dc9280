// Drawing sentences in an order that depends on seed and epoch alone, and padding them into
// batches.
#include "host/data/sentences.h"

#include <fmt/format.h>

#include <algorithm>

#include "host/data/permutation.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr int64_t kPoolBatches = 128;

// Streams of the two permutations of an epoch: sequences over it, batches within a pool.
uint64_t sequence_stream(int64_t epoch) { return static_cast<uint64_t>(epoch) << 1; }
uint64_t batch_stream(int64_t epoch, int64_t pool) {
  return sequence_stream(epoch) | 1 | static_cast<uint64_t>(pool) << 24;
}

}  // namespace

Sentences::Sentences(const Corpus& corpus, const SentenceOptions& options)
    : corpus_(corpus), options_(options) {
  if (options.B < 1 || options.max_T < 8) {
    throw Error(ErrorKind::usage,
                fmt::format("batch {} must be at least 1 and the longest sentence {} "
                            "at least 8",
                            options.B, options.max_T));
  }
  const auto most = static_cast<uint64_t>(options.max_T);
  uint64_t longest = 1;
  for (uint64_t n = 0; n < corpus.lines(); ++n) {
    const uint64_t begin = corpus.line_start(n), end = corpus.line_start(n + 1);
    longest = std::max(longest, std::min(end - begin, most));
    long_lines_ += end - begin > most;
    for (uint64_t at = begin + most; at < end; at += most)
      cuts_.push_back({at, std::min(end, at + most)});
  }
  max_T_ = static_cast<int>(std::min((longest + 7) / 8 * 8, most));
}

Sentences::Span Sentences::span(uint64_t i) const {
  if (i >= corpus_.lines()) return cuts_[i - corpus_.lines()];
  const uint64_t begin = corpus_.line_start(i);
  return {begin,
          std::min(corpus_.line_start(i + 1), begin + static_cast<uint64_t>(options_.max_T))};
}

int64_t Sentences::chunks(int64_t /*epoch*/) const {
  return (sequences() + options_.B - 1) / options_.B;
}

void Sentences::load_pool(int64_t epoch, int64_t pool) {
  if (pool == pool_index_ && epoch == pool_epoch_) return;
  const int64_t B = options_.B;
  const int64_t begin = pool * kPoolBatches * B;
  const int64_t end = std::min(sequences(), begin + kPoolBatches * B);
  struct Entry {
    uint64_t length, sequence;
  };
  std::vector<Entry> entries;
  for (int64_t i = begin; i < end; ++i) {
    const uint64_t sequence = permute(static_cast<uint64_t>(i), static_cast<uint64_t>(sequences()),
                                      options_.seed, sequence_stream(epoch));
    const Span s = span(sequence);
    entries.push_back({s.end - s.begin, sequence});
  }
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.length < b.length; });
  const auto batches = static_cast<uint64_t>((end - begin + B - 1) / B);
  pool_.assign(batches * static_cast<uint64_t>(B), kNone);
  for (uint64_t n = 0; n < entries.size(); ++n) {
    const uint64_t batch =
        permute(n / static_cast<uint64_t>(B), batches, options_.seed, batch_stream(epoch, pool));
    pool_[batch * static_cast<uint64_t>(B) + n % static_cast<uint64_t>(B)] = entries[n].sequence;
  }
  pool_epoch_ = epoch;
  pool_index_ = pool;
}

void Sentences::fill(int64_t epoch, int64_t k, HostChunk& out) {
  UNROLL_CHECK(k >= 0 && k < chunks(), fmt::format("sentences: chunk {} of {}", k, chunks()));
  const auto B = static_cast<size_t>(options_.B);
  std::vector<Span> spans(B);
  if (options_.order == SentenceOrder::shuffled) load_pool(epoch, k / kPoolBatches);
  uint64_t longest = 1;
  out.tokens = 0;
  out.lengths.resize(B);
  for (size_t b = 0; b < B; ++b) {
    uint64_t sequence = static_cast<uint64_t>(k) * B + b;
    if (options_.order == SentenceOrder::shuffled) {
      sequence = pool_[static_cast<size_t>(k % kPoolBatches) * B + b];
    }
    if (sequence < static_cast<uint64_t>(sequences())) spans[b] = span(sequence);
    const uint64_t length = spans[b].end - spans[b].begin;
    longest = std::max(longest, length);
    out.lengths[b] = static_cast<int32_t>(length);
    out.tokens += static_cast<int64_t>(length);
  }
  const uint64_t T = std::min((longest + 7) / 8 * 8, static_cast<uint64_t>(options_.max_T));
  out.T = static_cast<int>(T);
  out.B = options_.B;
  out.input.assign(T * B, corpus_.eos());
  out.target.assign(T * B, -1);
  out.keep.assign(B, 0);
  out.first_of_epoch = k == 0;
  out.epoch = epoch;
  out.index = k;
  for (size_t b = 0; b < B; ++b) {
    for (uint64_t i = spans[b].begin; i < spans[b].end; ++i) {
      const size_t at = (i - spans[b].begin) * B + b;
      out.input[at] = corpus_.before(i);
      out.target[at] = corpus_[i];
    }
  }
}

}  // namespace unroll
