// A neural model that follows the text it scores, or is averaged over dropout masks: builds the
// scorer that the flags ask for, and tunes it first where they say so.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "host/io/config.h"
#include "host/score/mc_dropout_scorer.h"
#include "models/cli/adapt_options.h"

namespace unroll::cli {

class Adapted {
 public:
  // What the model is made of; all borrowed.
  struct Parts {
    const Backend& backend;
    const LanguageModel& model;
    const ParamStore& params;
    const Vocab& vocab;
    const Config& config;
    const std::string& path;  // for messages
    size_t logits_bytes;
    bool eager;
  };
  // Throws what parse_adaptation() throws.
  Adapted(const AdaptOptions& options, const Parts& parts);

  // A scorer of one stream. The first call measures gradients and tunes, with a line on standard
  // error for each. One scorer at a time. Throws usage Errors for --reset line and for a training
  // text that cannot be found.
  std::unique_ptr<TokenScorer> scorer(Reset reset, const ScoringShape& shape);

  std::string describe() const;  // the flags as they came out: "--cache window=..."
  nlohmann::json json() const;

 private:
  std::unique_ptr<AdaptiveScorer> adaptive(const AdaptiveScorer::Options& options);
  void measure_gradients();
  void tune();
  Scheduler& make_scheduler(int max_tokens, int lanes);

  AdaptOptions options_;
  Parts parts_;
  Adaptation adaptation_;
  int chunk_ = 0;  // tokens that the command line allows at a time
  bool ready_ = false;
  std::optional<GradientStatistics> statistics_;
  std::unique_ptr<Scheduler> scheduler_;
};

}  // namespace unroll::cli
