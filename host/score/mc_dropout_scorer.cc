// Noisy passes over a stream, averaged.
#include "host/score/mc_dropout_scorer.h"

#include <algorithm>
#include <cmath>

#include "host/score/log_add.h"
#include "kernels/base/error.h"

namespace unroll {

int McDropoutScorer::lanes(const McDropoutOptions& options, const ScoringShape& shape) {
  return std::min(options.passes, shape.B);
}

McDropoutScorer::McDropoutScorer(const Backend& backend, const LanguageModel& model,
                                 const ParamStore& params, Scheduler& scheduler, const Vocab& vocab,
                                 const McDropoutOptions& options, const ScoringShape& shape)
    : backend_(backend),
      scheduler_(scheduler),
      vocab_(vocab),
      options_(options),
      B_(lanes(options, shape)),
      T_(shape.T),
      stream_(vocab.eos()) {
  if (B_ < 1 || T_ < 1)
    throw Error(ErrorKind::usage, "--batch " + std::to_string(shape.B) + " and --bptt " +
                                      std::to_string(T_) + ": both have to be at least 1");
  state_ = State(backend, model.state_shape(), B_, params.act());
  for (int first = 0; first < options.passes; first += B_)
    carried_.emplace_back(backend.device(), MemoryKind::device, state_.memory().bytes());
}

std::vector<NatsLine> McDropoutScorer::score(const std::vector<TokenLine>& lines) {
  std::vector<double> log_p(count_tokens(lines), -INFINITY);
  const TokenStream start = stream_;
  const uint64_t chunks_before = chunks_;
  const size_t bytes = state_.memory().bytes();
  HostChunk side_by_side;
  for (size_t group = 0; group < carried_.size(); ++group) {
    const int used = std::min(B_, options_.passes - int(group) * B_);
    stream_ = start;
    chunks_ = chunks_before;
    if (!start.fresh())
      backend_.stream().copy(state_.memory().data(), carried_[group].data(), bytes);
    stream_.walk(lines, T_, [&](const HostChunk& chunk, size_t first) {
      const size_t B = size_t(B_), T = size_t(chunk.T);
      side_by_side.T = chunk.T;
      side_by_side.B = B_;
      side_by_side.input.resize(T * B);
      side_by_side.target.resize(T * B);
      for (size_t i = 0; i < T * B; ++i) {
        side_by_side.input[i] = chunk.input[i / B];
        side_by_side.target[i] = chunk.target[i / B];
      }
      side_by_side.keep.assign(B, chunk.keep[0]);
      ScorePass pass{.mode = {.record = false, .noise = true}};
      pass.scalars.seed = options_.seed;
      const uint64_t groups = carried_.size();
      pass.scalars.mask_step = group + (options_.locked ? 0 : chunks_ * groups);
      ++chunks_;
      const std::vector<double> nats = scheduler_.score(side_by_side, state_, pass);
      for (size_t t = 0; t < T; ++t)
        for (size_t b = 0; b < size_t(used); ++b)
          log_p[first + t] = log_add(log_p[first + t], -nats[t * B + b]);
    });
    backend_.stream().copy(carried_[group].data(), state_.memory().data(), bytes);
  }
  const double log_K = std::log(double(options_.passes));
  for (double& x : log_p) x = log_K - x;
  return split_by_lines(lines, log_p);
}

}  // namespace unroll
