// Mixtures of models, caches and recorded probabilities from the command line.
#include "models/cli/open_mixture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "host/io/atomic_file.h"
#include "host/io/metrics.h"
#include "host/io/parse.h"
#include "host/io/run_dir.h"
#include "host/mix/probability_file.h"
#include "host/ngram/ngram_model.h"
#include "host/score/mixture_scorer.h"
#include "host/score/recorded_scorer.h"
#include "kernels/base/error.h"
#include "models/cli/open_ngram.h"

namespace unroll::cli {
namespace {

constexpr std::string_view kRecorded = "probs:";

bool is_recorded(const std::string& argument) { return argument.starts_with(kRecorded); }

// probs:FILE,TUNE_FILE: the probabilities of the text to score, and of the --tune text.
struct Recorded {
  std::string scored, tuned;
};

Recorded parse_recorded(const std::string& argument, bool tune) {
  const std::string files = argument.substr(kRecorded.size());
  const size_t comma = files.find(',');
  Recorded r{files.substr(0, comma), comma == std::string::npos ? "" : files.substr(comma + 1)};
  if (r.scored.empty() || (tune && r.tuned.empty()))
    throw Error(ErrorKind::usage,
                "--mix " + argument + ": with --tune give two files, " + std::string(kRecorded) +
                    "FILE,TUNE_FILE, written by --write-probs "
                    "for the text to score and for the --tune text; without, FILE alone");
  return r;
}

std::vector<double> parse_weights(const std::string& list) {
  std::vector<double> weights;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const auto weight = parse_real(std::string_view(list).substr(at, end - at));
    if (!weight)
      throw Error(ErrorKind::usage,
                  "--weights " + list + ": expected numbers separated by commas, e.g. 0.7,0.3");
    weights.push_back(*weight);
    at = end + 1;
  }
  return weights;
}

class MixtureModel final : public OpenModel {
 public:
  MixtureModel(const std::string& first, const MixOptions& mix, const UseOptions& use)
      : names_{first}, tune_(mix.tune) {
    names_.insert(names_.end(), mix.models.begin(), mix.models.end());
    if (!mix.caches.empty()) caches_ = parse_cache_specs(mix.caches);
    if (mix.weights.empty() == tune_.empty())
      throw Error(ErrorKind::usage,
                  tune_.empty()
                      ? "a mixture needs weights: give --tune VALID_TEXT to find them, or "
                        "--weights W1,W2,..."
                      : "give either --tune or --weights, not both");
    if (!mix.weights.empty())
      weights_ = check_weights(parse_weights(mix.weights), names_.size() + caches_.size());
    open_models(use);
  }

  const Vocab& vocab() const override { return reference().vocab(); }

  // Lines are on their own where they are for every model.
  Reset reset() const override {
    for (const auto& model : models_)
      if (model && model->reset() == Reset::never) return Reset::never;
    return Reset::line;
  }

  std::unique_ptr<TokenScorer> scorer(Reset reset, const ScoringShape& shape) override {
    tune(reset, shape);
    return std::make_unique<MixtureScorer>(scorers(reset, shape, false), caches_, weights_);
  }

  // MODEL adapts; what is mixed to it does not.
  void adapt(const AdaptOptions& options) override {
    if (models_[0])
      models_[0]->adapt(options);
    else
      OpenModel::adapt(options);
  }
  nlohmann::json adaptation() const override {
    return models_[0] ? models_[0]->adaptation() : nlohmann::json();
  }

  std::unique_ptr<NextWord> next_word() override {
    tune(Reset::never, {});
    std::vector<std::unique_ptr<NextWord>> next;
    for (size_t m = 0; m < models_.size(); ++m) {
      if (!models_[m])
        throw Error(ErrorKind::usage, names_[m] +
                                          ": recorded probabilities belong to one text and cannot "
                                          "generate; mix models");
      next.push_back(models_[m]->next_word());
    }
    return std::make_unique<MixtureNextWord>(std::move(next), caches_, weights_);
  }

  std::string conditions(Reset reset) const override {
    std::string all;
    for (size_t m = 0; m < models_.size(); ++m)
      all += (m > 0 ? "; " : "") + names_[m] + ": " +
             (models_[m] ? models_[m]->conditions(reset) : "as recorded");
    return caches_.empty() ? all : all + "; caches run over all lines";
  }

  std::vector<MixturePart> parts() const override {
    std::vector<MixturePart> all;
    for (size_t i = 0; i < weights_.size(); ++i)
      all.push_back(
          {i < names_.size() ? names_[i] : name_of(caches_[i - names_.size()]), weights_[i]});
    return all;
  }

  nlohmann::json info() const override {
    return {{"kind", "mixture"}, {"models", names_}, {"vocabulary_hash", vocab().hash()}};
  }

 private:
  // ARPA files have no order of words of their own: they are read into the others' vocabulary.
  void open_models(const UseOptions& use) {
    models_.resize(names_.size());
    std::vector<bool> later(names_.size());
    for (size_t m = 0; m < names_.size(); ++m) {
      if (is_recorded(names_[m])) {
        parse_recorded(names_[m], !tune_.empty());
        continue;
      }
      const std::string file = resolve_model(names_[m]);
      later[m] = use.vocab_of.empty() && is_arpa_file(file);
      if (!later[m]) add(m, open_model(names_[m], use));
    }
    for (size_t m = 0; m < names_.size(); ++m)
      if (later[m])
        add(m,
            first_ ? open_model_in(names_[m], use, first_->vocab()) : open_model(names_[m], use));
    if (!first_)
      throw Error(ErrorKind::usage,
                  "a mixture needs a model beside recorded probabilities, for its "
                  "vocabulary; give MODEL or --mix MODEL");
  }

  void add(size_t m, std::unique_ptr<OpenModel> model) {
    if (first_ && first_->vocab().hash() != model->vocab().hash())
      throw Error(
          ErrorKind::model,
          fmt::format("{} ({} words, hash {}) and {} ({} words, hash {}) have different "
                      "vocabularies and cannot be mixed; train one with --vocab-of of the other",
                      names_[first_index_], first_->vocab().size(), first_->vocab().hash(),
                      names_[m], model->vocab().size(), model->vocab().hash()));
    models_[m] = std::move(model);
    if (first_) return;
    first_ = models_[m].get();
    first_index_ = m;
  }

  const OpenModel& reference() const { return *first_; }

  std::vector<std::unique_ptr<TokenScorer>> scorers(Reset reset, const ScoringShape& shape,
                                                    bool tuning) {
    std::vector<std::unique_ptr<TokenScorer>> all;
    for (size_t m = 0; m < models_.size(); ++m) {
      if (models_[m]) {
        all.push_back(models_[m]->scorer(reset, shape));
        continue;
      }
      const Recorded files = parse_recorded(names_[m], !tune_.empty());
      all.push_back(std::make_unique<RecordedScorer>(tuning ? files.tuned : files.scored, vocab()));
    }
    return all;
  }

  void tune(Reset reset, const ScoringShape& shape) {
    if (!weights_.empty()) return;
    TextSource text({tune_}, "--tune");
    const Mixture mixture = tune_mixture(scorers(reset, shape, true), caches_, text);
    weights_ = mixture.weights;
    std::fprintf(stderr, "weights by EM, %d rounds:", mixture.rounds);
    for (const MixturePart& part : parts())
      std::fprintf(stderr, " %.6f %s", part.weight, part.name.c_str());
    std::fprintf(stderr, "; tuning ppl %.2f (%s tokens)\n",
                 perplexity(-mixture.nats, mixture.tokens), with_commas(mixture.tokens).c_str());
  }

  std::vector<std::string> names_;  // of models
  std::string tune_;
  std::vector<CacheSpec> caches_;
  std::vector<std::unique_ptr<OpenModel>> models_;  // null: recorded
  const OpenModel* first_ = nullptr;                // of those that are not null
  size_t first_index_ = 0;
  std::vector<double> weights_;  // empty until known
};

// A flag that an n-gram model would silently ignore.
void refuse_neural_options(const UseOptions& use) {
  const bool cpu = use.device == "auto" || use.device == "cpu";
  const std::string flag = !cpu                     ? "--device " + use.device
                           : use.eager              ? "--eager"
                           : !use.precision.empty() ? "--precision " + use.precision
                           : !use.vocab.empty()     ? "--vocab " + use.vocab
                           : !use.unit.empty()      ? "--unit " + use.unit
                           : !use.cell.empty()      ? "--cell " + use.cell
                                                    : "";
  if (!flag.empty())
    throw Error(ErrorKind::usage, flag +
                                      ": is for neural models, MODEL is an n-gram model, which "
                                      "runs on the CPU in double precision; leave the flag out");
}

// Whether an argument can only be a model; a text is neither of these.
bool looks_like_model(const std::string& argument) {
  std::error_code error;
  return is_recorded(argument) || argument.ends_with(".safetensors") ||
         std::filesystem::is_directory(argument, error) || NgramModel::is_model_file(argument);
}

}  // namespace

void add_mix_options(CLI::App& app, MixOptions& mix) {
  constexpr const char* kGroup = "Mixtures";
  app.add_option("--mix", mix.models,
                 "another model over the same vocabulary, to interpolate with; may be repeated. "
                 "probs:FILE takes the probabilities that --write-probs wrote for this text, "
                 "probs:FILE,TUNE_FILE also those of the --tune text")
      ->allow_extra_args(false)
      ->group(kGroup);
  app.add_option(
         "--cache-ngram", mix.caches,
         "caches of the words seen last: unigram:WORDS, decay:WORDS, bigram:WORDS, as a list, "
         "e.g. decay:100,bigram:500")
      ->group(kGroup);
  app.add_option("--tune", mix.tune,
                 "validation text whose probability the mixture's weights maximise (EM)")
      ->group(kGroup);
  app.add_option("--weights", mix.weights,
                 "the weights instead: MODEL, each --mix, each cache; they sum to 1")
      ->group(kGroup);
}

std::unique_ptr<OpenModel> open_mixture(const std::string& model, const MixOptions& mix,
                                        const UseOptions& use) {
  if (mix.mixes()) return std::make_unique<MixtureModel>(model, mix, use);
  if (!mix.tune.empty() || !mix.weights.empty())
    throw Error(ErrorKind::usage,
                std::string(mix.tune.empty() ? "--weights" : "--tune") +
                    " is for mixtures; give --mix MODEL or --cache-ngram LIST with it");
  auto opened = open_model(model, use);
  if (opened->info().at("kind") == "ngram") refuse_neural_options(use);
  return opened;
}

void place_model_and_files(std::string& model, std::vector<std::string>& files, MixOptions& mix) {
  if (!mix.models.empty() &&
      (files.empty() || (std::filesystem::exists(model) && !looks_like_model(model)))) {
    files.insert(files.begin(), model);
    model = mix.models.front();
    mix.models.erase(mix.models.begin());
  }
  if (files.empty())
    throw Error(ErrorKind::usage, "FILE is required: the text to score, or - for standard input");
}

ProbabilityWriter::ProbabilityWriter(std::string path) : path_(std::move(path)) {
  if (!path_.empty()) AtomicFile probe(path_);
}

void ProbabilityWriter::add(const ScoredLine& line) {
  if (path_.empty()) return;
  for (const double nats : line.nats) p_.push_back(std::exp(-nats));
}

void ProbabilityWriter::write() const {
  if (!path_.empty()) write_probabilities(path_, p_);
}

void add_write_probs_option(CLI::App& app, std::string& path) {
  app.add_option(
      "--write-probs", path,
      "write the probability of every token, <eos> included, as 32-bit floats (or as decimal "
      "lines where the name ends in .txt), for --mix probs:FILE");
}

}  // namespace unroll::cli
