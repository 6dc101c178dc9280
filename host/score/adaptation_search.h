// Finds the settings of a cache and of dynamic evaluation under which a validation text is
// likeliest.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "host/score/adaptive_scorer.h"

namespace unroll {

// A positive setting and the range it may take.
struct SearchAxis {
  double start, low, high;
};

struct SearchResult {
  std::vector<double> at;
  double value;     // of the function, the least found
  int evaluations;  // of the function
};

// Coordinate search in factors: along each axis in turn, steps of the first factor as long as the
// value falls, then the same with the next, smaller factor. No point is worked out twice; a value
// that is not finite is worse than any other.
SearchResult coordinate_search(const std::function<double(const std::vector<double>&)>& value,
                               const std::vector<SearchAxis>& axes,
                               const std::vector<double>& factors);

using MakeAdaptive =
    std::function<std::unique_ptr<AdaptiveScorer>(const AdaptiveScorer::Options& options)>;

// -log p of the text in nats; infinite where the weights diverge.
double text_nats(AdaptiveScorer& scorer, const std::vector<TokenLine>& text);

// Window and theta from a grid and then a finer one about its best point, two passes over the text
// in all; for each point the share by EM (host/mix/em_mixture.h). What is given stays as it is.
struct CacheSearch {
  std::optional<int64_t> window;
  std::optional<double> theta, lambda;
};
struct CacheTuning {
  CacheOptions options;
  double nats = 0;
};
CacheTuning tune_cache(const MakeAdaptive& make, const AdaptiveScorer::Options& base,
                       const CacheSearch& search, const std::vector<TokenLine>& text);

// lr and lambda by coordinate search from those of `base.dynamic`, a pass over the text per point.
struct DynamicTuning {
  DynamicOptions options;
  double nats = 0;
  int passes = 0;
};
DynamicTuning tune_dynamic(const MakeAdaptive& make, const AdaptiveScorer::Options& base,
                           const std::vector<TokenLine>& text,
                           const std::function<void(const DynamicOptions&, double nats)>& report);

}  // namespace unroll
