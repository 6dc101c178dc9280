// Cutting a corpus into lanes and chunks.
#include "host/data/lanes.h"

#include <fmt/format.h>

#include <algorithm>

#include "host/data/random_lengths.h"
#include "kernels/base/error.h"
#include "kernels/base/philox.h"

namespace unroll {
namespace {

// Where lane b of so many rows begins in an epoch, drawn by counter: the same after a resume. In a
// counter word of its own, apart from lengths of chunks and permutations of sentences.
int64_t turned_by(uint64_t seed, int64_t epoch, int b, int64_t rows) {
  constexpr uint32_t kStream = 0x7475726e;
  const Philox4 r = philox(uint32_t(b), kStream, uint32_t(epoch), uint32_t(epoch >> 32), seed);
  const uint64_t bits = uint64_t(r.v[0]) << 32 | r.v[1];
  return int64_t(bits % uint64_t(rows));
}

}  // namespace

Lanes::Lanes(const Corpus& corpus, int B, int T, LaneForm form, const std::string& name,
             std::optional<uint64_t> random_seed, std::optional<uint64_t> shuffle_seed)
    : corpus_(corpus),
      B_(B),
      T_(T),
      max_T_(T),
      form_(form),
      random_seed_(random_seed),
      shuffle_seed_(shuffle_seed) {
  if (B < 1 || T < 1) {
    throw Error(ErrorKind::usage,
                fmt::format("batch {} and bptt {}: both must be at least 1", B, T));
  }
  const auto N = static_cast<int64_t>(corpus.size());
  if (form == LaneForm::evaluate) {
    lane_length_ = (N + B - 1) / B;
    chunks_ = (lane_length_ + T - 1) / T;
    return;
  }
  const int64_t needed = int64_t{B} * (int64_t{T} + 1);
  if (N < needed) {
    const int64_t fewer_lanes = N / (int64_t{T} + 1), shorter = N / B - 1;
    std::string advice;
    if (fewer_lanes >= 1) advice = fmt::format("--batch {} --bptt {}", fewer_lanes, T);
    if (shorter >= 1) {
      advice += fmt::format("{}--batch {} --bptt {}", advice.empty() ? "" : " or ", B, shorter);
    }
    if (advice.empty() && N >= 2)
      advice = fmt::format("--batch 1 --bptt {}", std::min<int64_t>(T, N - 1));
    throw Error(
        ErrorKind::data,
        fmt::format(
            "batch x bptt = {} x {} needs at least {} tokens, {} has {}; {}", B, T, needed, name, N,
            advice.empty() ? "a text of at least 2 tokens is needed" : advice + " would work"));
  }
  if (random_seed) {
    lane_length_ = N / B - 1;
    max_T_ = int(std::min<int64_t>(longest_random_chunk(T), lane_length_));
    return;
  }
  chunks_ = (N / B - 1) / T;
  lane_length_ = chunks_ * T;
}

// Of the chunk that begins at row `first`; 0 where an epoch ends.
int Lanes::random_length(int64_t epoch, int64_t k, int64_t first) const {
  const int64_t rest = lane_length_ - first;
  if (rest < 2 && k > 0) return 0;
  return int(std::min<int64_t>(random_chunk_length(T_, *random_seed_, epoch, k), rest));
}

int64_t Lanes::chunks(int64_t epoch) const {
  if (!random_seed_) return chunks_;
  int64_t k = 0;
  for (int64_t first = 0; const int T = random_length(epoch, k, first); ++k) first += T;
  return k;
}

int64_t Lanes::tokens() const {
  return form_ == LaneForm::train ? lane_length_ * B_ : static_cast<int64_t>(corpus_.size());
}

void Lanes::fill(int64_t epoch, int64_t k, HostChunk& out) {
  int64_t first = k * T_;
  int T = static_cast<int>(std::min<int64_t>(T_, lane_length_ - first));
  if (random_seed_) {
    if (epoch != starts_epoch_) starts_.assign(1, 0);
    starts_epoch_ = epoch;
    for (auto known = int64_t(starts_.size()); known <= k; ++known)
      starts_.push_back(starts_.back() + random_length(epoch, known - 1, starts_.back()));
    first = starts_[size_t(k)];
    T = random_length(epoch, k, first);
  }
  UNROLL_CHECK(k >= 0 && T > 0, fmt::format("lanes: there is no chunk {}", k));
  const auto N = static_cast<int64_t>(corpus_.size());
  const size_t elements = static_cast<size_t>(T) * static_cast<size_t>(B_);
  out.T = T;
  out.B = B_;
  out.input.resize(elements);
  out.target.resize(elements);
  out.lengths.clear();
  out.keep.assign(static_cast<size_t>(B_), k > 0);
  out.first_of_epoch = k == 0;
  out.epoch = epoch;
  out.index = k;
  out.tokens = 0;
  if (shuffle_seed_) return fill_turned(epoch, first, out);
  // Lane b predicts the tokens from origin + b * stride on, each from the token before it.
  const int64_t stride = form_ == LaneForm::train ? N / B_ : lane_length_;
  const int64_t origin = form_ == LaneForm::train ? 1 : 0;
  for (int b = 0; b < B_; ++b) {
    const int64_t begin = origin + b * stride + first;
    const int64_t end = std::min(N, begin + T);
    for (int t = 0; t < T; ++t) {
      const size_t at = static_cast<size_t>(t) * static_cast<size_t>(B_) + static_cast<size_t>(b);
      const auto i = static_cast<uint64_t>(begin + t);
      const bool scored = begin + t < end;
      out.input[at] = scored ? corpus_.before(i) : corpus_.eos();
      out.target[at] = scored ? corpus_[i] : -1;
    }
    out.tokens += std::max<int64_t>(0, end - begin);
  }
}

void Lanes::fill_turned(int64_t epoch, int64_t first, HostChunk& out) const {
  const int64_t rows = static_cast<int64_t>(corpus_.size()) / B_;
  for (int b = 0; b < B_; ++b) {
    const int64_t turn = turned_by(*shuffle_seed_, epoch, b, rows);
    const auto token = [&](int64_t row) {
      return corpus_[static_cast<uint64_t>(b * rows + (turn + row) % rows)];
    };
    for (int t = 0; t < out.T; ++t) {
      const size_t at = static_cast<size_t>(t) * static_cast<size_t>(B_) + static_cast<size_t>(b);
      out.input[at] = token(first + t);
      out.target[at] = token(first + t + 1);
    }
  }
  out.tokens = int64_t{out.T} * B_;
}

}  // namespace unroll
