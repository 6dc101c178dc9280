// A stream scored by a model that follows it.
#include "host/score/adaptive_scorer.h"

#include <algorithm>
#include <cmath>

#include "host/score/log_add.h"

namespace unroll {
namespace {

std::vector<CacheSetting> settings_of(const AdaptiveScorer::Options& options) {
  std::vector<CacheSetting> settings;
  if (options.cache) settings.push_back(options.cache->setting);
  settings.insert(settings.end(), options.more_settings.begin(), options.more_settings.end());
  return settings;
}

}  // namespace

AdaptationDiverged::AdaptationDiverged()
    : Error(ErrorKind::divergence,
            "dynamic evaluation diverged; lower lr or raise lambda of --dynamic, or let --dynamic "
            "tune find them") {}

int AdaptiveScorer::chunk_length(const Options& options, int wanted) {
  if (options.dynamic) return options.dynamic->segment;
  const std::vector<CacheSetting> settings = settings_of(options);
  return settings.empty() ? wanted : std::min(wanted, NeuralCache::chunk_limit(settings));
}

AdaptiveScorer::AdaptiveScorer(const Backend& backend, const LanguageModel& model,
                               const ParamStore& params, Scheduler& scheduler, const Vocab& vocab,
                               const Options& options, int length)
    : scheduler_(scheduler),
      vocab_(vocab),
      length_(length),
      state_(backend, model.state_shape(), 1, params.act()),
      stream_(vocab.eos()) {
  pass_.hook = this;
  if (options.cache) lambda_ = options.cache->lambda;
  if (std::vector<CacheSetting> settings = settings_of(options); !settings.empty())
    cache_ = std::make_unique<NeuralCache>(backend, std::move(settings), length);
  if (!options.dynamic) return;
  weights_ =
      std::make_unique<DynamicWeights>(backend, params, *options.statistics, *options.dynamic);
  pass_.mode = {.record = true, .noise = false};
  // The mean loss of a segment; a shorter one moves the weights by less.
  pass_.scalars.weight = 1.0 / options.dynamic->segment;
}

void AdaptiveScorer::scored(Tape& tape, const Var& hidden, const Chunk& chunk) {
  if (cache_) cache_->read_and_append(tape, hidden.matrix(), chunk.target);
}

void AdaptiveScorer::differentiated(const Exec& exec) { weights_->update(exec); }

std::vector<std::vector<double>> AdaptiveScorer::part_logs(const std::vector<TokenLine>& lines) {
  const size_t K = cache_ ? cache_->settings() : 0, tokens = count_tokens(lines);
  std::vector<std::vector<double>> log_p(1 + K, std::vector<double>(tokens));
  stream_.walk(lines, length_, [&](const HostChunk& chunk, size_t first) {
    const bool empty = stream_.fresh();
    const std::vector<double> nats = scheduler_.score(chunk, state_, pass_);
    for (size_t i = 0; i < nats.size(); ++i) {
      // A probability that a double cannot hold: weights as large are lost, even if they are finite.
      if (weights_ && !std::isfinite(std::exp(nats[i]))) throw AdaptationDiverged();
      log_p[0][first + i] = -nats[i];
    }
    if (K == 0) return;
    const std::vector<double> cached = cache_->read(chunk.T);
    for (size_t i = 0; i < nats.size(); ++i)
      for (size_t k = 0; k < K; ++k)
        log_p[1 + k][first + i] = empty && i == 0 ? -nats[0] : std::log(cached[i * K + k]);
  });
  return log_p;
}

std::vector<NatsLine> AdaptiveScorer::score(const std::vector<TokenLine>& lines) {
  const std::vector<std::vector<double>> log_p = part_logs(lines);
  std::vector<double> nats(log_p[0].size());
  for (size_t i = 0; i < nats.size(); ++i)
    nats[i] = cache_ ? -log_add(std::log1p(-lambda_) + log_p[0][i], std::log(lambda_) + log_p[1][i])
                     : -log_p[0][i];
  return split_by_lines(lines, nats);
}

int64_t AdaptiveScorer::tokens_at_once() const {
  return weights_ ? int64_t(1) << 20 : int64_t(length_) * 8;
}

}  // namespace unroll
