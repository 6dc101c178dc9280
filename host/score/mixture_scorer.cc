// Mixtures of scorers and of next-word distributions.
#include "host/score/mixture_scorer.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "host/score/text_scorer.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

std::vector<std::unique_ptr<WordCache>> make_caches(const std::vector<CacheSpec>& specs,
                                                    int64_t V) {
  std::vector<std::unique_ptr<WordCache>> caches;
  for (const CacheSpec& spec : specs) caches.push_back(make_cache(spec, V));
  return caches;
}

// Scores nothing itself: keeps the streams that tuning needs.
class PartRecorder final : public TokenScorer {
 public:
  explicit PartRecorder(MixtureScorer& mixture) : mixture_(mixture) {}
  const Vocab& vocab() const override { return mixture_.vocab(); }
  std::vector<NatsLine> score(const std::vector<TokenLine>& lines) override {
    const std::vector<std::vector<double>> p = mixture_.part_probabilities(lines);
    streams.resize(p.size());
    for (size_t m = 0; m < p.size(); ++m)
      streams[m].insert(streams[m].end(), p[m].begin(), p[m].end());
    return std::vector<NatsLine>(lines.size());
  }
  void end_of_text() override { mixture_.end_of_text(); }
  int64_t tokens_at_once() const override { return mixture_.tokens_at_once(); }

  std::vector<std::vector<double>> streams;

 private:
  MixtureScorer& mixture_;
};

}  // namespace

MixtureScorer::MixtureScorer(std::vector<std::unique_ptr<TokenScorer>> models,
                             const std::vector<CacheSpec>& caches, std::vector<double> weights)
    : models_(std::move(models)), weights_(std::move(weights)) {
  UNROLL_CHECK(!models_.empty() && weights_.size() == models_.size() + caches.size(),
               "a mixture needs a model, and one weight per model and cache");
  caches_ = make_caches(caches, vocab().size());
}

std::vector<std::vector<double>> MixtureScorer::part_probabilities(
    const std::vector<TokenLine>& lines) {
  std::vector<std::vector<double>> p(weights_.size());
  for (size_t m = 0; m < models_.size(); ++m)
    for (const NatsLine& line : models_[m]->score(lines))
      for (const double nats : line) p[m].push_back(std::exp(-nats));
  for (size_t c = 0; c < caches_.size(); ++c) {
    std::vector<double>& stream = p[models_.size() + c];
    WordCache& cache = *caches_[c];
    stream.reserve(p[0].size());
    for (const TokenLine& line : lines)
      for (const int32_t id : line) {
        stream.push_back(cache.empty() ? p[0][stream.size()] : cache.probability(id));
        cache.add(id);
      }
  }
  return p;
}

std::vector<NatsLine> MixtureScorer::score(const std::vector<TokenLine>& lines) {
  const std::vector<std::vector<double>> p = part_probabilities(lines);
  std::vector<NatsLine> nats(lines.size());
  size_t t = 0;
  for (size_t i = 0; i < lines.size(); ++i)
    for (size_t j = 0; j < lines[i].size(); ++j, ++t) {
      double mixed = 0;
      for (size_t m = 0; m < p.size(); ++m) mixed += weights_[m] * p[m][t];
      if (!(mixed > 0))
        throw Error(ErrorKind::data,
                    fmt::format("every part of the mixture gives '{}' the probability 0; add a "
                                "smoothed model such as kn5, or give it a weight",
                                escape_token(vocab().token(lines[i][j]))));
      nats[i].push_back(-std::log(mixed));
    }
  return nats;
}

void MixtureScorer::end_of_text() {
  for (const auto& model : models_) model->end_of_text();
}

int64_t MixtureScorer::tokens_at_once() const {
  int64_t most = 1;
  for (const auto& model : models_) most = std::max(most, model->tokens_at_once());
  return most;
}

Mixture tune_mixture(std::vector<std::unique_ptr<TokenScorer>> models,
                     const std::vector<CacheSpec>& caches, TextSource& text) {
  const size_t parts = models.size() + caches.size();
  MixtureScorer mixture(std::move(models), caches, std::vector<double>(parts, 1 / double(parts)));
  PartRecorder recorder(mixture);
  score_text(recorder, text, [](const ScoredLine&) {});
  const std::vector<std::span<const double>> streams(recorder.streams.begin(),
                                                     recorder.streams.end());
  return fit_mixture(streams);
}

MixtureNextWord::MixtureNextWord(std::vector<std::unique_ptr<NextWord>> models,
                                 std::vector<CacheSpec> caches, std::vector<double> weights)
    : models_(std::move(models)), specs_(std::move(caches)), weights_(std::move(weights)) {
  UNROLL_CHECK(!models_.empty() && weights_.size() == models_.size() + specs_.size(),
               "a mixture needs a model, and one weight per model and cache");
  reset();
}

void MixtureNextWord::reset() {
  for (const auto& model : models_) model->reset();
  caches_ = make_caches(specs_, vocab().size());
  fresh_ = true;
}

std::vector<double> MixtureNextWord::feed(int32_t token) {
  for (const auto& cache : caches_)
    if (!fresh_) cache->add(token);
  fresh_ = false;
  std::vector<double> mixed(size_t(vocab().size()), 0), cached(mixed.size());
  for (size_t m = 0; m < models_.size(); ++m) {
    double weight = weights_[m];
    for (size_t c = 0; m == 0 && c < caches_.size(); ++c)
      if (caches_[c]->empty()) weight += weights_[models_.size() + c];
    const std::vector<double> log_p = models_[m]->feed(token);
    for (size_t w = 0; w < mixed.size(); ++w) mixed[w] += weight * std::exp(log_p[w]);
  }
  for (size_t c = 0; c < caches_.size(); ++c) {
    caches_[c]->distribution(cached);  // zeros while it is empty
    for (size_t w = 0; w < mixed.size(); ++w) mixed[w] += weights_[models_.size() + c] * cached[w];
  }
  for (double& x : mixed) x = std::log(x);
  return mixed;
}

std::vector<double> check_weights(std::span<const double> weights, size_t parts) {
  double sum = 0;
  bool negative = false;
  for (const double w : weights) {
    sum += w;
    negative |= !(w >= 0);
  }
  if (weights.size() != parts || negative || !(std::abs(sum - 1) <= 1e-3))
    throw Error(
        ErrorKind::usage,
        fmt::format("--weights {}: {} numbers that sum to {:.6g}; give {}, one per model and "
                    "then per cache in the order given, none below 0, that sum to 1",
                    fmt::join(weights, ","), weights.size(), sum, parts));
  std::vector<double> scaled(weights.begin(), weights.end());
  for (double& w : scaled) w /= sum;
  return scaled;
}

}  // namespace unroll
