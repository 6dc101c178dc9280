// Scorers with a cache, moving weights or noise, from the command line.
#include "models/cli/adapted.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "host/data/corpus.h"
#include "host/data/lanes.h"
#include "host/device/clock.h"
#include "host/io/metrics.h"
#include "kernels/base/error.h"

namespace unroll::cli {
namespace {

// The first `most` tokens of a text, in whole lines; 0: all of it.
std::vector<TokenLine> read_lines(const std::vector<std::string>& files, const Vocab& vocab,
                                  int64_t most) {
  TextSource source(files, "--tune-on");
  std::vector<TokenLine> lines;
  int64_t tokens = 0;
  for (std::string text; (most == 0 || tokens < most) && source.next_line(text);) {
    TokenLine line;
    vocab.encode(text, line, nullptr, source.place());
    line.push_back(vocab.eos());
    tokens += int64_t(line.size());
    lines.push_back(std::move(line));
  }
  if (lines.empty())
    throw Error(ErrorKind::data, files.front() + ": the text is empty; nothing to tune on");
  return lines;
}

}  // namespace

Adapted::Adapted(const AdaptOptions& options, const Parts& parts)
    : options_(options), parts_(parts), adaptation_(parse_adaptation(options)) {
  if (options_.mc_passes > 0 && !parts_.model.noisy())
    throw Error(ErrorKind::usage,
                fmt::format("--mc-dropout {}: {} was trained without dropout, every pass is the "
                            "same; leave the flag out, or train with --dropout",
                            options_.mc_passes, parts_.path));
}

Scheduler& Adapted::make_scheduler(int max_tokens, int lanes) {
  Scheduler::Options options;
  options.max_tokens = max_tokens;
  options.max_lanes = lanes;
  options.logits_bytes = parts_.logits_bytes;
  options.eager = parts_.eager;
  scheduler_ =
      std::make_unique<Scheduler>(parts_.backend, parts_.model, parts_.params, nullptr, options);
  return *scheduler_;
}

std::unique_ptr<AdaptiveScorer> Adapted::adaptive(const AdaptiveScorer::Options& options) {
  const int length = AdaptiveScorer::chunk_length(options, chunk_);
  return std::make_unique<AdaptiveScorer>(parts_.backend, parts_.model, parts_.params,
                                          make_scheduler(length, 1), parts_.vocab, options, length);
}

void Adapted::measure_gradients() {
  const bool own = options_.dynamic_train.empty();
  const std::vector<std::string>& files = own ? parts_.config.train : options_.dynamic_train;
  constexpr const char* kFix =
      "--dynamic needs gradient statistics of the training text; give --dynamic-train FILE";
  if (files.empty())
    throw Error(ErrorKind::usage, parts_.path + ": its settings name no training text; " + kFix);
  for (const std::string& file : files)
    if (own && !std::filesystem::exists(file))
      throw Error(ErrorKind::usage, fmt::format("{}: the training text \"{}\" of its settings is "
                                                "not there; {}",
                                                parts_.path, file, kFix));
  const double start = seconds_now();
  const Corpus corpus({files, own ? "--train of the model" : "--dynamic-train"}, parts_.vocab, "");
  const int T = adaptation_.dynamic->segment;
  if (int64_t(corpus.size()) <= T)
    throw Error(ErrorKind::data,
                fmt::format("{}: {} tokens are no text for --dynamic's gradient statistics, which "
                            "need segment + 1 = {}; give a longer --dynamic-train FILE",
                            files.front(), corpus.size(), T + 1));
  // A small text has fewer lanes.
  const int64_t room = int64_t(corpus.size()) / (T + 1);
  const int lanes = int(std::max<int64_t>(1, std::min<int64_t>(GradientStatistics::kLanes, room)));
  Lanes source(corpus, lanes, T, LaneForm::train, "the text of --dynamic's statistics");
  statistics_.emplace(parts_.backend, parts_.model, parts_.params, make_scheduler(lanes * T, lanes),
                      source);
  std::fprintf(stderr,
               "gradient statistics: %s segments of %d x %d tokens of %s, mean RMS %.4g, %s\n",
               with_commas(statistics_->segments()).c_str(), lanes, T, files.front().c_str(),
               statistics_->mean(), human_duration(seconds_now() - start).c_str());
}

void Adapted::tune() {
  const std::vector<TokenLine> text =
      read_lines(options_.tune_on, parts_.vocab, options_.tune_tokens);
  const int64_t tokens = int64_t(count_tokens(text));
  const double start = seconds_now();
  const auto report = [&](const std::string& what, const std::string& name, double nats) {
    std::fprintf(stderr, "%s %s: tuning ppl %s (%s tokens), %s\n", what.c_str(), name.c_str(),
                 human_perplexity(perplexity(nats, tokens)).c_str(), with_commas(tokens).c_str(),
                 human_duration(seconds_now() - start).c_str());
  };
  const auto make = [&](const AdaptiveScorer::Options& options) { return adaptive(options); };
  AdaptiveScorer::Options base{.dynamic = adaptation_.dynamic,
                               .statistics = statistics_ ? &*statistics_ : nullptr};
  if (adaptation_.tune_dynamic) {
    const DynamicTuning tuned =
        tune_dynamic(make, base, text, [&](const DynamicOptions& d, double nats) {
          report("trying --dynamic", name_of(d), nats);
        });
    adaptation_.dynamic = base.dynamic = tuned.options;
    report("tuned: --dynamic", name_of(tuned.options), tuned.nats);
  }
  if (adaptation_.tune_cache) {
    const CacheTuning tuned = tune_cache(make, base, adaptation_.cache_search, text);
    adaptation_.cache = tuned.options;
    report("tuned: --cache", name_of(tuned.options), tuned.nats);
  }
}

std::unique_ptr<TokenScorer> Adapted::scorer(Reset reset, const ScoringShape& shape) {
  if (reset == Reset::line)
    throw Error(ErrorKind::usage, std::string(adaptation_.cache     ? "--cache"
                                              : adaptation_.dynamic ? "--dynamic"
                                                                    : "--mc-dropout") +
                                      " reads the text as one stream; give --reset never");
  chunk_ = tokens_at_a_time(shape);
  if (options_.mc_passes > 0) {
    const McDropoutOptions mc{.passes = options_.mc_passes,
                              .seed = options_.mc_seed,
                              .locked = parts_.config.dropout_kind == "locked"};
    const int lanes = McDropoutScorer::lanes(mc, shape);
    return std::make_unique<McDropoutScorer>(parts_.backend, parts_.model, parts_.params,
                                             make_scheduler(lanes * shape.T, lanes), parts_.vocab,
                                             mc, shape);
  }
  if (!ready_) {
    if (adaptation_.dynamic) measure_gradients();
    if (adaptation_.tune_cache || adaptation_.tune_dynamic) tune();
    ready_ = true;
  }
  return adaptive({.cache = adaptation_.cache,
                   .dynamic = adaptation_.dynamic,
                   .statistics = statistics_ ? &*statistics_ : nullptr});
}

std::string Adapted::describe() const {
  std::string text;
  if (options_.mc_passes > 0)
    text = fmt::format("--mc-dropout {} --mc-seed {}", options_.mc_passes, options_.mc_seed);
  if (adaptation_.dynamic) text = "--dynamic " + name_of(*adaptation_.dynamic);
  if (adaptation_.cache)
    text += (text.empty() ? "" : " ") + ("--cache " + name_of(*adaptation_.cache));
  return text;
}

nlohmann::json Adapted::json() const {
  nlohmann::json j;
  if (options_.mc_passes > 0)
    j["mc_dropout"] = {{"passes", options_.mc_passes}, {"seed", options_.mc_seed}};
  if (const auto& d = adaptation_.dynamic)
    j["dynamic"] = {{"lr", d->lr}, {"lambda", d->lambda}, {"eps", d->eps}, {"segment", d->segment}};
  if (const auto& c = adaptation_.cache)
    j["cache"] = {
        {"window", c->setting.window}, {"theta", c->setting.theta}, {"lambda", c->lambda}};
  return j;
}

}  // namespace unroll::cli
