#include "host/score/neural_scorer.h"

#include <algorithm>
#include <numeric>

#include "kernels/base/error.h"

namespace unroll {

int tokens_at_a_time(const ScoringShape& shape) {
  constexpr int64_t kMost = 1 << 20;
  if (shape.B < 1 || shape.T < 1 || int64_t(shape.B) * shape.T > kMost)
    throw Error(ErrorKind::usage,
                "--batch " + std::to_string(shape.B) + " and --bptt " + std::to_string(shape.T) +
                    ": both have to be at least 1, their product at most " + std::to_string(kMost));
  return shape.B * shape.T;
}

Scheduler::Options scoring_options(Reset reset, const ScoringShape& shape, size_t logits_bytes,
                                   bool eager) {
  Scheduler::Options options;
  options.max_tokens = tokens_at_a_time(shape);
  options.max_lanes = reset == Reset::line ? shape.B : 1;
  options.logits_bytes = logits_bytes;
  options.eager = eager;
  return options;
}

NeuralScorer::NeuralScorer(const Backend& backend, const LanguageModel& model,
                           const ParamStore& params, Scheduler& scheduler, const Vocab& vocab,
                           Reset reset, const ScoringShape& shape)
    : scheduler_(scheduler),
      vocab_(vocab),
      reset_(reset),
      shape_(shape),
      state_(backend, model.state_shape(), reset == Reset::line ? shape.B : 1, params.act()),
      stream_(vocab.eos()) {}

std::vector<NatsLine> NeuralScorer::score(const std::vector<TokenLine>& lines) {
  if (reset_ == Reset::line) return score_lines(lines);
  std::vector<double> nats;
  nats.reserve(count_tokens(lines));
  stream_.walk(lines, shape_.B * shape_.T, [&](const HostChunk& chunk, size_t) {
    for (const double x : scheduler_.score(chunk, state_)) nats.push_back(x);
  });
  return split_by_lines(lines, nats);
}

std::vector<NatsLine> NeuralScorer::score_lines(const std::vector<TokenLine>& lines) {
  std::vector<NatsLine> nats(lines.size());
  for (size_t i = 0; i < lines.size(); ++i) nats[i].resize(lines[i].size());
  // Lines of about the same length side by side; a line longer than T is walked in several chunks.
  std::vector<size_t> order(lines.size());
  std::iota(order.begin(), order.end(), size_t(0));
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lines[a].size() > lines[b].size(); });
  const size_t B = size_t(shape_.B);
  HostChunk chunk;
  chunk.B = shape_.B;
  for (size_t first = 0; first < order.size(); first += B) {
    const size_t count = std::min(B, order.size() - first);
    const size_t longest = lines[order[first]].size();
    for (size_t start = 0; start < longest; start += size_t(shape_.T)) {
      // Whole eights, so that few shapes occur.
      chunk.T = int(std::min(size_t(shape_.T), (longest - start + 7) / 8 * 8));
      const size_t N = size_t(chunk.T) * B;
      chunk.input.assign(N, vocab_.eos());
      chunk.target.assign(N, -1);
      chunk.keep.assign(B, start > 0 ? 1 : 0);
      for (size_t b = 0; b < count; ++b) {
        const TokenLine& line = lines[order[first + b]];
        for (size_t t = 0; t < size_t(chunk.T) && start + t < line.size(); ++t) {
          chunk.input[t * B + b] = start + t == 0 ? vocab_.eos() : line[start + t - 1];
          chunk.target[t * B + b] = line[start + t];
        }
      }
      const std::vector<double> scores = scheduler_.score(chunk, state_);
      for (size_t b = 0; b < count; ++b) {
        const size_t line = order[first + b];
        for (size_t t = 0; t < size_t(chunk.T) && start + t < lines[line].size(); ++t)
          nats[line][start + t] = scores[t * B + b];
      }
    }
  }
  return nats;
}

NeuralNextWord::NeuralNextWord(const Backend& backend, const LanguageModel& model,
                               const ParamStore& params, Scheduler& scheduler, const Vocab& vocab)
    : scheduler_(scheduler), vocab_(vocab), state_(backend, model.state_shape(), 1, params.act()) {}

std::vector<double> NeuralNextWord::feed(int32_t token) {
  std::vector<double> log_p = scheduler_.next_word({token}, {fresh_ ? 0 : 1}, state_);
  fresh_ = false;
  return log_p;
}

}  // namespace unroll
