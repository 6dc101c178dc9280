// Several models and caches as one: --mix, --cache-ngram, --weights, --tune, --write-probs.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "host/score/text_scorer.h"
#include "models/cli/open_model.h"

namespace unroll::cli {

struct MixOptions {
  std::vector<std::string> models;  // beside MODEL: paths, or probs:FILE[,TUNE_FILE]
  std::string caches;               // as for parse_cache_specs()
  std::string weights;              // by hand: "0.7,0.3"
  std::string tune;                 // text
  bool mixes() const { return !models.empty() || !caches.empty(); }
};

void add_mix_options(CLI::App& app, MixOptions& mix);

// Opens MODEL with what is mixed to it; MODEL alone where nothing is. The mixture has the
// vocabulary of its models, and ARPA files are read into it. Throws Error(usage) where weights are
// missing or do not fit, Error(model) naming two models of different vocabularies, and what opening
// them throws.
std::unique_ptr<OpenModel> open_mixture(const std::string& model, const MixOptions& mix,
                                        const UseOptions& use);

// Where --mix names all models, MODEL is left out and the command line's first word is a text:
// moves it to `files` and the first of --mix to `model`. Throws Error(usage) where no text is left.
void place_model_and_files(std::string& model, std::vector<std::string>& files, MixOptions& mix);

// --write-probs FILE: collects the probability of every scored token and writes them at the end.
class ProbabilityWriter {
 public:
  // "" writes nothing. Throws Error(disk) where the file could not be written.
  explicit ProbabilityWriter(std::string path);
  void add(const ScoredLine& line);
  void write() const;  // throws Error(disk)

 private:
  std::string path_;
  std::vector<double> p_;
};
void add_write_probs_option(CLI::App& app, std::string& path);

}  // namespace unroll::cli
