// Searches over validation texts.
#include "host/score/adaptation_search.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "host/mix/em_mixture.h"

namespace unroll {
namespace {

// The lines in blocks of about `tokens` tokens.
void for_each_block(const std::vector<TokenLine>& text, int64_t tokens,
                    const std::function<void(const std::vector<TokenLine>&)>& each) {
  std::vector<TokenLine> block;
  int64_t waiting = 0;
  for (const TokenLine& line : text) {
    block.push_back(line);
    waiting += int64_t(line.size());
    if (waiting < tokens) continue;
    each(block);
    block.clear();
    waiting = 0;
  }
  if (!block.empty()) each(block);
}

// The best of the settings, each with its best share or the one given.
CacheTuning best_setting(const std::vector<CacheSetting>& settings,
                         const std::vector<std::vector<double>>& p, std::optional<double> lambda) {
  CacheTuning best;
  best.nats = INFINITY;
  std::vector<double> mixed(p[0].size());
  for (size_t k = 0; k < settings.size(); ++k) {
    const std::span<const double> streams[] = {p[0], p[1 + k]};
    const double share = lambda ? *lambda : fit_mixture(streams).weights[1];
    const double weights[] = {1 - share, share};
    const double nats = -mix_streams(streams, weights, mixed);
    if (nats < best.nats) best = {{settings[k], share}, nats};
  }
  return best;
}

CacheTuning search_settings(const MakeAdaptive& make, AdaptiveScorer::Options options,
                            const std::vector<CacheSetting>& settings, std::optional<double> lambda,
                            const std::vector<TokenLine>& text) {
  options.cache.reset();
  options.more_settings = settings;
  const auto scorer = make(options);
  std::vector<std::vector<double>> p(1 + settings.size());
  for_each_block(text, scorer->tokens_at_once(), [&](const std::vector<TokenLine>& block) {
    const std::vector<std::vector<double>> log_p = scorer->part_logs(block);
    for (size_t k = 0; k < p.size(); ++k)
      for (const double x : log_p[k]) p[k].push_back(std::exp(x));
  });
  return best_setting(settings, p, lambda);
}

// All pairs, at most kMaxCacheSettings.
std::vector<CacheSetting> pairs(const std::vector<int64_t>& windows,
                                const std::vector<double>& thetas) {
  std::vector<CacheSetting> all;
  for (const int64_t window : windows)
    for (const double theta : thetas) all.push_back({window, theta});
  return all;
}

}  // namespace

SearchResult coordinate_search(const std::function<double(const std::vector<double>&)>& value,
                               const std::vector<SearchAxis>& axes,
                               const std::vector<double>& factors) {
  std::map<std::vector<double>, double> known;
  const auto at = [&](const std::vector<double>& x) {
    const auto found = known.find(x);
    if (found != known.end()) return found->second;
    const double v = value(x);
    return known[x] = std::isfinite(v) ? v : INFINITY;
  };
  std::vector<double> best;
  for (const SearchAxis& axis : axes) best.push_back(axis.start);
  double least = at(best);
  for (const double factor : factors)
    for (size_t i = 0; i < axes.size(); ++i)
      for (const double step : {factor, 1 / factor}) {
        bool moved = false;
        while (true) {
          std::vector<double> next = best;
          next[i] = std::clamp(best[i] * step, axes[i].low, axes[i].high);
          const double v = at(next);
          if (!(v < least)) break;
          best = next;
          least = v;
          moved = true;
        }
        if (moved) break;
      }
  return {best, least, int(known.size())};
}

double text_nats(AdaptiveScorer& scorer, const std::vector<TokenLine>& text) {
  double nats = 0;
  try {
    for_each_block(text, scorer.tokens_at_once(), [&](const std::vector<TokenLine>& block) {
      for (const NatsLine& line : scorer.score(block))
        for (const double x : line) nats += x;
    });
  } catch (const AdaptationDiverged&) {
    return INFINITY;
  }
  return nats;
}

CacheTuning tune_cache(const MakeAdaptive& make, const AdaptiveScorer::Options& base,
                       const CacheSearch& search, const std::vector<TokenLine>& text) {
  const auto windows = [&](std::vector<int64_t> free) {
    return search.window ? std::vector<int64_t>{*search.window} : free;
  };
  const auto thetas = [&](std::vector<double> free) {
    return search.theta ? std::vector<double>{*search.theta} : free;
  };
  const auto near = [&](double v) { return std::max<int64_t>(1, std::llround(v)); };
  const CacheTuning coarse = search_settings(
      make, base,
      pairs(windows({200, 500, 2000, 5000}), thetas({0.03, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2})),
      search.lambda, text);
  const double w = double(coarse.options.setting.window), t = coarse.options.setting.theta;
  CacheTuning fine = search_settings(
      make, base,
      pairs(windows({near(0.5 * w), near(0.7 * w), near(w), near(1.4 * w)}),
            thetas({0.6 * t, 0.7 * t, 0.8 * t, 0.9 * t, t, 1.1 * t, 1.25 * t, 1.4 * t})),
      search.lambda, text);
  return fine.nats < coarse.nats ? fine : coarse;
}

DynamicTuning tune_dynamic(const MakeAdaptive& make, const AdaptiveScorer::Options& base,
                           const std::vector<TokenLine>& text,
                           const std::function<void(const DynamicOptions&, double nats)>& report) {
  const auto options_at = [&](const std::vector<double>& x) {
    AdaptiveScorer::Options options = base;
    options.cache.reset();
    options.dynamic->lr = x[0];
    options.dynamic->lambda = x[1];
    return options;
  };
  const SearchResult found = coordinate_search(
      [&](const std::vector<double>& x) {
        const AdaptiveScorer::Options options = options_at(x);
        const double nats = text_nats(*make(options), text);
        report(*options.dynamic, nats);
        return nats;
      },
      {{base.dynamic->lr, 1e-9, 10}, {base.dynamic->lambda, 1e-6, 10}}, {2, std::sqrt(2.0)});
  return {*options_at(found.at).dynamic, found.value, found.evaluations};
}

}  // namespace unroll
