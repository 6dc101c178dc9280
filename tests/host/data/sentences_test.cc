// Sentence batching: every line once per epoch, padding, order that depends on seed and epoch
// alone.
#include "host/data/sentences.h"

#include <algorithm>
#include <map>
#include <set>

#include "host/data/permutation.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

constexpr int32_t kEosId = 7;

// n lines of 0 .. 40 words that no other line has.
Corpus some_lines(int n) {
  std::vector<std::vector<int32_t>> lines;
  for (int i = 0; i < n; ++i) {
    lines.emplace_back();
    for (int w = 0; w < i * 31 % 41; ++w) lines.back().push_back(1000 + i * 100 + w);
  }
  return Corpus(lines, kEosId);
}

struct Sequence {
  std::vector<int32_t> input, target;
  auto operator<=>(const Sequence&) const = default;
};

// The sequences of a chunk, with its invariants checked; empty lanes left out.
std::vector<Sequence> unpack(const HostChunk& chunk) {
  const auto B = static_cast<size_t>(chunk.B), T = static_cast<size_t>(chunk.T);
  EXPECT_EQ(chunk.input.size(), T * B);
  EXPECT_EQ(chunk.target.size(), T * B);
  EXPECT_EQ(chunk.lengths.size(), B);
  EXPECT_EQ(chunk.keep, std::vector<int32_t>(B, 0));
  std::vector<Sequence> sequences;
  int64_t tokens = 0;
  for (size_t b = 0; b < B; ++b) {
    Sequence sequence;
    for (size_t t = 0; t < T; ++t) {
      const size_t at = t * B + b;
      if (t < static_cast<size_t>(chunk.lengths[b])) {
        sequence.input.push_back(chunk.input[at]);
        sequence.target.push_back(chunk.target[at]);
      } else {
        EXPECT_EQ(chunk.input[at], kEosId);
        EXPECT_EQ(chunk.target[at], -1);
      }
    }
    tokens += chunk.lengths[b];
    if (!sequence.input.empty()) sequences.push_back(sequence);
  }
  EXPECT_EQ(chunk.tokens, tokens);
  return sequences;
}

std::vector<Sequence> epoch_of(Sentences& source, int64_t epoch) {
  std::vector<Sequence> all;
  HostChunk chunk;
  for (int64_t k = 0; k < source.chunks(); ++k) {
    source.fill(epoch, k, chunk);
    EXPECT_EQ(chunk.first_of_epoch, k == 0);
    EXPECT_LE(chunk.T, source.max_T());
    int32_t longest = 1;
    for (const int32_t length : chunk.lengths) longest = std::max(longest, length);
    EXPECT_EQ(chunk.T, std::min((longest + 7) / 8 * 8, source.max_T()));
    for (Sequence& sequence : unpack(chunk)) all.push_back(std::move(sequence));
  }
  return all;
}

// What an epoch must hold, from the definition.
std::vector<Sequence> expected(const Corpus& corpus, uint64_t max_T) {
  std::vector<Sequence> all;
  for (uint64_t n = 0; n < corpus.lines(); ++n) {
    Sequence sequence;
    for (uint64_t i = corpus.line_start(n); i < corpus.line_start(n + 1); ++i) {
      if (sequence.input.size() == max_T) all.push_back(std::exchange(sequence, {}));
      sequence.input.push_back(i == corpus.line_start(n) ? kEosId : corpus[i - 1]);
      sequence.target.push_back(corpus[i]);
    }
    all.push_back(sequence);
  }
  return all;
}

template <class T>
std::vector<T> sorted(std::vector<T> items) {
  std::sort(items.begin(), items.end());
  return items;
}

TEST(Sentences, EachSequenceOncePerEpochWhateverTheSizes) {
  for (const int lines : {1, 2, 9, 257, 1000}) {
    const Corpus corpus = some_lines(lines);
    for (const int B : {1, 3, 8}) {
      for (const int max_T : {8, 13, 64}) {
        Sentences source(corpus, {.B = B, .max_T = max_T, .seed = 5});
        const auto wanted = expected(corpus, static_cast<uint64_t>(max_T));
        ASSERT_EQ(source.sequences(), static_cast<int64_t>(wanted.size()));
        ASSERT_EQ(source.chunks(), (source.sequences() + B - 1) / B);
        EXPECT_EQ(sorted(epoch_of(source, 3)), sorted(wanted));
      }
    }
  }
}

TEST(Sentences, LongLinesAreCounted) {
  const Corpus corpus({{1, 2, 3}, std::vector<int32_t>(8, 4), std::vector<int32_t>(17, 5)}, kEosId);
  Sentences source(corpus, {.B = 2, .max_T = 8});
  EXPECT_EQ(source.long_lines(), 2);  // 9 and 18 with <eos>
  EXPECT_EQ(source.sequences(), 1 + 2 + 3);
  EXPECT_EQ(source.max_T(), 8);
  EXPECT_EQ(Sentences(corpus, {.B = 2, .max_T = 100}).max_T(), 24);
  EXPECT_EQ(Sentences(corpus, {.B = 2, .max_T = 20}).max_T(), 20);
}

TEST(Sentences, PlainOrderIsThatOfTheText) {
  const Corpus corpus = some_lines(100);
  Sentences source(corpus, {.B = 7, .max_T = 64, .order = SentenceOrder::plain});
  EXPECT_EQ(epoch_of(source, 0), expected(corpus, 64));
}

TEST(Sentences, AnyChunkCanBeAskedForAtAnyTime) {
  const Corpus corpus = some_lines(1500);
  const SentenceOptions options = {.B = 4, .seed = 11};
  Sentences in_order(corpus, options), at_random(corpus, options);
  std::map<int64_t, std::vector<Sequence>> chunks;
  HostChunk chunk;
  for (int64_t k = 0; k < in_order.chunks(); ++k) {
    in_order.fill(2, k, chunk);
    chunks[k] = unpack(chunk);
  }
  ASSERT_GT(in_order.chunks(), 2 * 128);
  for (int64_t i = 0; i < in_order.chunks(); ++i) {
    const int64_t k = i * 211 % in_order.chunks();
    at_random.fill(i % 3, k, chunk);
    if (i % 3 == 2) {
      EXPECT_EQ(unpack(chunk), chunks[k]);
    }
  }
}

TEST(Sentences, OrderDependsOnSeedAndEpochAndBatchesAreOfAlikeLengths) {
  const Corpus corpus = some_lines(1500);
  Sentences a(corpus, {.B = 4, .seed = 1}), b(corpus, {.B = 4, .seed = 2});
  const auto first = epoch_of(a, 0);
  EXPECT_EQ(first, epoch_of(a, 0));
  EXPECT_NE(first, epoch_of(a, 1));
  EXPECT_NE(first, epoch_of(b, 0));
  HostChunk chunk;
  int64_t tokens = 0, places = 0;
  std::vector<int> steps;
  for (int64_t k = 0; k < a.chunks(); ++k) {
    a.fill(0, k, chunk);
    tokens += chunk.tokens;
    places += chunk.T * chunk.B;
    steps.push_back(chunk.T);
  }
  // Rounding up to 8 alone leaves 21 of 24.5 places filled here; batches of chance would leave 60%.
  EXPECT_GT(static_cast<double>(tokens) / static_cast<double>(places), 0.8);
  EXPECT_FALSE(std::is_sorted(steps.begin(), steps.begin() + 100));
}

TEST(Sentences, RefusesSizesThatCannotWork) {
  const Corpus corpus = some_lines(3);
  error_of(ErrorKind::usage, [&] { Sentences(corpus, {.B = 0}); });
  error_of(ErrorKind::usage, [&] { Sentences(corpus, {.B = 1, .max_T = 7}); });
}

TEST(Permutation, IsOneForEverySizeAndLooksRandom) {
  for (const uint64_t n : {1u, 2u, 3u, 4u, 5u, 16u, 17u, 1000u}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t to = permute(i, n, 42, 7);
      ASSERT_LT(to, n);
      seen.insert(to);
    }
    EXPECT_EQ(seen.size(), n);
  }
  // Over many streams every place is reached about equally often: 6000 draws, 1000 +- 5 sigma each.
  std::vector<int> hits(6);
  for (uint64_t stream = 0; stream < 6000; ++stream) ++hits[permute(2, 6, 1, stream)];
  for (const int hit : hits) EXPECT_NEAR(hit, 1000, 145);
}

}  // namespace
}  // namespace unroll::test
