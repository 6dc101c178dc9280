// A MODEL argument opened for use, whatever kind of model it is.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/score/neural_scorer.h"
#include "host/score/token_scorer.h"
#include "models/cli/adapt_options.h"

namespace unroll::cli {

// How a model is to run.
struct UseOptions {
  std::string device = "auto";
  int threads = 0;
  std::string precision;  // "": fp32
  bool eager = false;
  std::string vocab_of;  // model whose vocabulary ids are to have; "": the model's own
  // For weights saved from PyTorch, which carry neither settings nor a vocabulary.
  std::string vocab, unit, cell;
};

// One model or cache of a mixture.
struct MixturePart {
  std::string name;
  double weight;
};

class OpenModel {
 public:
  virtual ~OpenModel() = default;
  virtual const Vocab& vocab() const = 0;
  // How the text was read in training: what to score with unless told otherwise.
  virtual Reset reset() const { return Reset::never; }
  // Each borrows the model.
  virtual std::unique_ptr<TokenScorer> scorer(Reset reset, const ScoringShape& shape) = 0;
  virtual std::unique_ptr<NextWord> next_word() = 0;
  // Makes scorers from here on follow the text or average over masks. Throws usage Errors: options
  // that do not fit, and any for a model that has neither hidden states nor gradients.
  virtual void adapt(const AdaptOptions& options);
  // What adapt() asked for, with tuned values once a scorer was made; null without.
  virtual nlohmann::json adaptation() const { return {}; }
  // What precedes a line's words, in words for a report: "every line a sentence of its own".
  virtual std::string conditions(Reset reset) const = 0;
  // Of a mixture, once its weights are known; empty for a single model.
  virtual std::vector<MixturePart> parts() const { return {}; }
  // Kind, sizes, settings and training figures.
  virtual nlohmann::json info() const = 0;
};

// Throws usage and model Errors for a path that is no model, and resource Errors for the device.
std::unique_ptr<OpenModel> open_model(const std::string& argument, const UseOptions& use);
// The same in the ids of `vocab`, whatever `use` says: an ARPA file is read into them, any other
// model must have that vocabulary (model Error).
std::unique_ptr<OpenModel> open_model_in(const std::string& argument, const UseOptions& use,
                                         const Vocab& vocab);

// The vocabulary of a run directory or model file, without its weights. Throws as open_model.
Vocab vocab_of(const std::string& argument);

// f32, f64 or bf16, and how f32 products are computed. Throws a usage Error where the device
// cannot.
struct Arithmetic {
  DType act;
  MatmulMode matmul;
};
Arithmetic parse_precision(const std::string& precision, const Device& device);

}  // namespace unroll::cli
