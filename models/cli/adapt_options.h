// The flags of eval and score with which a neural model follows the text or is averaged over
// masks: --cache, --dynamic, --mc-dropout and what belongs to them.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/score/adaptation_search.h"

namespace unroll::cli {

struct AdaptOptions {
  std::string cache, dynamic;              // "tune", "key=value,..", or both
  std::vector<std::string> dynamic_train;  // text of the gradient statistics
  std::vector<std::string> tune_on;
  int64_t tune_tokens = 0;  // of --tune-on; 0: all
  int mc_passes = 0;
  uint64_t mc_seed = 1;
  bool adapts() const { return !cache.empty() || !dynamic.empty() || mc_passes != 0; }
};

void add_adapt_options(CLI::App& app, AdaptOptions& adapt);

// --cache and --dynamic read.
struct Adaptation {
  std::optional<CacheOptions> cache;
  bool tune_cache = false;
  CacheSearch cache_search;  // what the command line gave while tuning
  std::optional<DynamicOptions> dynamic;
  bool tune_dynamic = false;  // from the values in `dynamic`
};

// Throws usage Errors: unknown keys, values out of range, flags that do not go together.
Adaptation parse_adaptation(const AdaptOptions& adapt);

// As the flags would be typed: "window=500,theta=0.3,lambda=0.1".
std::string name_of(const CacheOptions& cache);
std::string name_of(const DynamicOptions& dynamic);

}  // namespace unroll::cli
