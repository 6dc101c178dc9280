// Stream batching: a corpus as B parallel lanes, walked T steps at a time, state carried from chunk
// to chunk.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/data/chunk.h"
#include "host/data/corpus.h"

namespace unroll {

enum class LaneForm {
  // rows = floor(N / B) tokens per lane, the remainder dropped; chunk k reads rows [kT, kT + T) and
  // predicts rows [kT + 1, kT + T + 1). Only full chunks: floor((rows - 1) / T) of them.
  train,
  // Every token is scored exactly once: lane b predicts tokens [b s, (b + 1) s) with s = ceil(N /
  // B);
  // the first input is the token before them, <eos> at the start of the text. The last chunk is
  // shorter than T where T does not divide s, and lanes that ended are padded with target -1.
  // B = 1 is the one-stream form of reported figures.
  evaluate,
};

class Lanes : public ChunkSource {
 public:
  // Borrows the corpus. Throws a data Error with values that would work where a training corpus has
  // fewer than B (T + 1) tokens; a usage Error where B or T is below 1. `name` is the corpus in
  // messages.
  //
  // With `random_seed` a training corpus is cut into chunks of random length around T instead: one
  // after the other, the last one shorter, and an epoch ends when fewer than two rows remain.
  //
  // With `shuffle_seed` every lane of a training corpus is turned at the start of each epoch: a row
  // s is drawn for it, and it reads rows s, s + 1, .., the last, 0, .., s - 1 (Press 2019,
  // "Partially Shuffling the Training Data to Improve Language Models").
  Lanes(const Corpus& corpus, int B, int T, LaneForm form, const std::string& name = "the text",
        std::optional<uint64_t> random_seed = {}, std::optional<uint64_t> shuffle_seed = {});

  int64_t chunks(int64_t epoch = 0) const override;
  void fill(int64_t epoch, int64_t k, HostChunk& out) override;
  int max_T() const override { return max_T_; }
  int B() const override { return B_; }
  // Tokens scored in an epoch; with random lengths one per lane may be left out.
  int64_t tokens() const;

 private:
  int random_length(int64_t epoch, int64_t k, int64_t first) const;
  void fill_turned(int64_t epoch, int64_t first, HostChunk& out) const;

  const Corpus& corpus_;
  int B_, T_, max_T_;
  LaneForm form_;
  std::optional<uint64_t> random_seed_, shuffle_seed_;
  int64_t lane_length_;  // tokens scored per lane, padding included
  int64_t chunks_ = 0;   // of fixed length
  // Random lengths: where the chunks of an epoch begin, as far as they were asked for.
  int64_t starts_epoch_ = -1;
  std::vector<int64_t> starts_;
};

}  // namespace unroll
