// Stream batching against its definition, over odd sizes.
#include "host/data/lanes.h"

#include <cmath>
#include <set>

#include "host/data/random_lengths.h"
#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

constexpr int32_t kEosId = 9999;

// One line of n tokens 0 .. n-2 and <eos>.
Corpus numbers(int n) {
  std::vector<int32_t> line;
  for (int i = 0; i + 1 < n; ++i) line.push_back(i);
  return Corpus({line}, kEosId);
}

TEST(LanesTrain, FollowsTheDefinition) {
  for (const int N : {24, 25, 97, 100}) {
    for (const int B : {1, 3, 5}) {
      for (const int T : {1, 2, 3}) {
        const Corpus corpus = numbers(N);
        Lanes lanes(corpus, B, T, LaneForm::train);
        const int rows = N / B;
        ASSERT_EQ(lanes.chunks(), (rows - 1) / T);
        HostChunk chunk;
        int64_t tokens = 0;
        for (int64_t k = 0; k < lanes.chunks(); ++k) {
          lanes.fill(4, k, chunk);
          ASSERT_EQ(chunk.T, T);
          ASSERT_EQ(chunk.B, B);
          ASSERT_EQ(chunk.tokens, T * B);
          ASSERT_EQ(chunk.first_of_epoch, k == 0);
          ASSERT_EQ(chunk.epoch, 4);
          ASSERT_EQ(chunk.index, k);
          ASSERT_TRUE(chunk.lengths.empty());
          ASSERT_EQ(chunk.keep, std::vector<int32_t>(static_cast<size_t>(B), k > 0));
          for (int t = 0; t < T; ++t) {
            for (int b = 0; b < B; ++b) {
              const auto row = static_cast<uint64_t>(b * rows + k * T + t);
              const auto at = static_cast<size_t>(t * B + b);
              ASSERT_EQ(chunk.input[at], corpus[row]);
              ASSERT_EQ(chunk.target[at], corpus[row + 1]);
            }
          }
          tokens += chunk.tokens;
        }
        EXPECT_EQ(tokens, lanes.tokens());
      }
    }
  }
}

// Chunks of random length follow each other without gap or overlap, whichever is asked for first.
TEST(LanesRandom, ChunksTileAnEpoch) {
  const int N = 2003, B = 3, bptt = 12, rows = N / B - 1;
  const Corpus corpus = numbers(N);
  Lanes lanes(corpus, B, bptt, LaneForm::train, "the text", 7), again = lanes;
  std::vector<std::vector<int>> lengths(2);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    int64_t row = 0;
    HostChunk chunk, other;
    for (int64_t k = 0; k < lanes.chunks(epoch); ++k) {
      lanes.fill(epoch, k, chunk);
      ASSERT_LE(chunk.T, lanes.max_T());
      ASSERT_EQ(chunk.keep, std::vector<int32_t>(size_t(B), k > 0));
      ASSERT_EQ(chunk.tokens, chunk.T * B);
      for (int t = 0; t < chunk.T; ++t)
        for (int b = 0; b < B; ++b) {
          const auto at = size_t(t * B + b);
          ASSERT_EQ(chunk.input[at], corpus[uint64_t(b * (rows + 1) + row + t)]);
          ASSERT_EQ(chunk.target[at], corpus[uint64_t(b * (rows + 1) + row + t + 1)]);
        }
      lengths[size_t(epoch)].push_back(chunk.T);
      row += chunk.T;
    }
    ASSERT_GE(row, rows - 1);
    ASSERT_LE(row, rows);
    // A resumed run asks for the middle first, and then for what is before it.
    again.fill(epoch, lanes.chunks(epoch) - 1, other);
    EXPECT_EQ(other.input, chunk.input);
    again.fill(1 - epoch, 0, other);
    again.fill(epoch, 2, other);
    EXPECT_EQ(other.T, lengths[size_t(epoch)][2]);
  }
  EXPECT_NE(lengths[0], lengths[1]);
  HostChunk chunk;
  EXPECT_THROW(lanes.fill(0, lanes.chunks(0), chunk), Error);
}

TEST(LanesRandom, LengthsHaveTheStatedDistribution) {
  const int bptt = 70, n = 200000;
  int halves = 0, shortest = 1000, longest = 0;
  double sum = 0, squares = 0;
  for (int k = 0; k < n; ++k) {
    const int T = random_chunk_length(bptt, 1, 3, k);
    shortest = std::min(shortest, T);
    longest = std::max(longest, T);
    if (T < 53) {  // between the two bases, more than three deviations from either
      ++halves;
      continue;
    }
    sum += T;
    squares += double(T) * T;
  }
  const double full = n - halves, mean = sum / full;
  EXPECT_NEAR(double(halves) / n, 0.05, 0.002);
  EXPECT_NEAR(mean, 69.5, 0.06);  // the whole part of Normal(70, 5)
  EXPECT_NEAR(std::sqrt(squares / full - mean * mean), 5, 0.06);
  EXPECT_GE(shortest, 10);
  EXPECT_GT(longest, 88);
  EXPECT_LE(longest, longest_random_chunk(bptt));
  for (int k = 0; k < 1000; ++k) EXPECT_GE(random_chunk_length(6, 1, 0, k), 5);
}

// With fixed and with random lengths: an epoch reads every row of a lane but those that a fixed
// length leaves over, in order from a row of the lane's own.
TEST(LanesShuffled, EveryLaneIsTurnedAtARowOfItsOwn) {
  const int N = 605, B = 5, T = 12, rows = N / B;
  const Corpus corpus = numbers(N);
  for (const bool random : {false, true}) {
    const auto lengths = random ? std::optional<uint64_t>(7) : std::nullopt;
    Lanes lanes(corpus, B, T, LaneForm::train, "the text", lengths, 7), again = lanes;
    Lanes plain(corpus, B, T, LaneForm::train, "the text", lengths);
    Lanes other(corpus, B, T, LaneForm::train, "the text", lengths, 8);
    EXPECT_EQ(lanes.tokens(), plain.tokens());
    EXPECT_EQ(lanes.max_T(), plain.max_T());
    std::vector<std::vector<int>> turns(4);
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
      ASSERT_EQ(lanes.chunks(epoch), plain.chunks(epoch));
      std::vector<std::vector<int32_t>> read(B);
      HostChunk chunk, unturned;
      for (int64_t k = 0; k < lanes.chunks(epoch); ++k) {
        lanes.fill(epoch, k, chunk);
        plain.fill(epoch, k, unturned);
        ASSERT_EQ(chunk.T, unturned.T);
        ASSERT_EQ(chunk.tokens, unturned.tokens);
        ASSERT_EQ(chunk.keep, unturned.keep);
        ASSERT_EQ(chunk.index, k);
        for (size_t at = 0; at < chunk.input.size(); ++at) {
          std::vector<int32_t>& lane = read[at % B];
          if (k == 0 && at < B) lane.push_back(chunk.input[at]);
          ASSERT_EQ(chunk.input[at], lane.back());
          lane.push_back(chunk.target[at]);
        }
        // A resumed run begins anywhere.
        again.fill(epoch, (k * 7) % lanes.chunks(epoch), unturned);
        again.fill(epoch, k, unturned);
        ASSERT_EQ(unturned.input, chunk.input);
        ASSERT_EQ(unturned.target, chunk.target);
      }
      for (int b = 0; b < B; ++b) {
        const std::vector<int32_t>& lane = read[size_t(b)];
        const auto id = [&](int row) { return corpus[uint64_t(b * rows + row % rows)]; };
        int turn = 0;
        while (turn < rows && id(turn) != lane[0]) ++turn;
        ASSERT_LT(turn, rows) << "not a token of the lane";
        turns[size_t(epoch)].push_back(turn);
        if (random) {
          ASSERT_GE(int(lane.size()), rows - 1);
        }
        ASSERT_LE(int(lane.size()), rows) << "no token is read twice";
        for (size_t i = 0; i < lane.size(); ++i) ASSERT_EQ(lane[i], id(turn + int(i)));
      }
    }
    EXPECT_NE(turns[0], turns[1]);
    EXPECT_EQ(std::set<int>(turns[0].begin(), turns[0].end()).size(), size_t(B));
    HostChunk ours, theirs;
    lanes.fill(0, 0, ours);
    other.fill(0, 0, theirs);
    EXPECT_NE(ours.input, theirs.input) << "another seed";
  }
}

TEST(LanesShuffled, TurnsAreUniform) {
  const int B = 400, rows = 10;
  const Corpus corpus = numbers(B * rows);
  Lanes lanes(corpus, B, 3, LaneForm::train, "the text", {}, 3);
  std::vector<int> seen(rows);
  HostChunk chunk;
  for (int64_t epoch = 0; epoch < 25; ++epoch) {
    lanes.fill(epoch, 0, chunk);
    for (int b = 0; b < B; ++b)
      ++seen[size_t((chunk.input[size_t(b)] == kEosId ? rows * B - 1 : chunk.input[size_t(b)]) -
                    b * rows)];
  }
  for (const int n : seen) EXPECT_NEAR(n, 1000, 5 * 30);
}

TEST(LanesEvaluate, EveryTokenIsScoredOnceAfterTheOneBeforeIt) {
  for (const int N : {1, 2, 6, 64, 129, 200}) {
    const Corpus corpus = numbers(N);
    for (const int B : {1, 3, 7}) {
      for (const int T : {1, 5, 64}) {
        Lanes lanes(corpus, B, T, LaneForm::evaluate);
        EXPECT_EQ(lanes.tokens(), N);
        std::vector<std::vector<int32_t>> input(static_cast<size_t>(B)), target = input;
        HostChunk chunk;
        int64_t tokens = 0;
        for (int64_t k = 0; k < lanes.chunks(); ++k) {
          lanes.fill(0, k, chunk);
          ASSERT_GE(chunk.T, 1);
          ASSERT_LE(chunk.T, T);
          ASSERT_EQ(chunk.input.size(), static_cast<size_t>(chunk.T * B));
          ASSERT_EQ(chunk.keep, std::vector<int32_t>(static_cast<size_t>(B), k > 0));
          int64_t scored = 0;
          for (size_t at = 0; at < chunk.input.size(); ++at) {
            ASSERT_GE(chunk.input[at], 0);
            if (chunk.target[at] < 0) {
              ASSERT_EQ(chunk.target[at], -1);
              continue;
            }
            input[at % static_cast<size_t>(B)].push_back(chunk.input[at]);
            target[at % static_cast<size_t>(B)].push_back(chunk.target[at]);
            ++scored;
          }
          EXPECT_EQ(chunk.tokens, scored);
          tokens += scored;
        }
        EXPECT_EQ(tokens, N);
        uint64_t at = 0;
        for (size_t b = 0; b < target.size(); ++b) {
          for (size_t i = 0; i < target[b].size(); ++i, ++at) {
            ASSERT_EQ(target[b][i], corpus[at]);
            ASSERT_EQ(input[b][i], at == 0 ? kEosId : corpus[at - 1]);
          }
        }
      }
    }
  }
}

TEST(Lanes, ReuseOfAChunkLeavesNothingBehind) {
  const Corpus corpus = numbers(50);
  Lanes small(corpus, 2, 3, LaneForm::train), large(corpus, 5, 7, LaneForm::train);
  HostChunk used, fresh;
  large.fill(0, 0, used);
  used.lengths = {1, 2, 3, 4, 5};
  small.fill(0, 2, used);
  small.fill(0, 2, fresh);
  EXPECT_EQ(used.input, fresh.input);
  EXPECT_EQ(used.target, fresh.target);
  EXPECT_EQ(used.lengths, fresh.lengths);
  EXPECT_EQ(used.keep, fresh.keep);
  EXPECT_EQ(used.T, 3);
}

TEST(Lanes, TooSmallATextSaysWhatWouldWork) {
  const Corpus corpus = numbers(100);
  const auto message = [&](int B, int T) {
    return error_of(ErrorKind::data, [&] { Lanes(corpus, B, T, LaneForm::train, "train.txt"); });
  };
  const std::string both = message(20, 35);
  expect_contains(both, "20 x 35 needs at least 720 tokens, train.txt has 100");
  expect_contains(both, "--batch 2 --bptt 35 or --batch 20 --bptt 4 would work");
  expect_contains(message(200, 200), "--batch 1 --bptt 99 would work");
  // The values it names do work.
  Lanes(corpus, 2, 35, LaneForm::train);
  Lanes(corpus, 20, 4, LaneForm::train);
  Lanes(corpus, 1, 99, LaneForm::train);
  const Corpus single = numbers(1);
  expect_contains(error_of(ErrorKind::data, [&] { Lanes(single, 1, 1, LaneForm::train); }),
                  "at least 2 tokens");
  error_of(ErrorKind::usage, [&] { Lanes(corpus, 0, 5, LaneForm::evaluate); });
  error_of(ErrorKind::usage, [&] { Lanes(corpus, 5, 0, LaneForm::train); });
}

}  // namespace
}  // namespace unroll::test
