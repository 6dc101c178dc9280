// Cutting a corpus into lanes and chunks.
#include "host/data/lanes.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/base/error.h"

namespace unroll {

Lanes::Lanes(const Corpus& corpus, int B, int T, LaneForm form, const std::string& name)
    : corpus_(corpus), B_(B), max_T_(T), form_(form) {
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
  chunks_ = (N / B - 1) / T;
  lane_length_ = chunks_ * T;
}

int64_t Lanes::tokens() const {
  return form_ == LaneForm::train ? lane_length_ * B_ : static_cast<int64_t>(corpus_.size());
}

void Lanes::fill(int64_t epoch, int64_t k, HostChunk& out) {
  UNROLL_CHECK(k >= 0 && k < chunks_, fmt::format("lanes: chunk {} of {}", k, chunks_));
  const int64_t first = k * max_T_;
  const int T = static_cast<int>(std::min<int64_t>(max_T_, lane_length_ - first));
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

}  // namespace unroll
