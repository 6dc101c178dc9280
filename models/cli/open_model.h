// A MODEL argument opened for use, whatever kind of model it is.
#pragma once

#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "host/score/neural_scorer.h"
#include "host/score/token_scorer.h"

namespace unroll::cli {

// How a model is to run.
struct UseOptions {
  std::string device = "auto";
  int threads = 0;
  std::string precision;  // "": fp32
  bool eager = false;
};

class OpenModel {
 public:
  virtual ~OpenModel() = default;
  virtual const Vocab& vocab() const = 0;
  // Each borrows the model.
  virtual std::unique_ptr<TokenScorer> scorer(Reset reset, const ScoringShape& shape) = 0;
  virtual std::unique_ptr<NextWord> next_word() = 0;
  // Kind, sizes, settings and training figures.
  virtual nlohmann::json info() const = 0;
};

// Throws usage and model Errors for a path that is no model, and resource Errors for the device.
std::unique_ptr<OpenModel> open_model(const std::string& argument, const UseOptions& use);

// f32, f64 or bf16, and how f32 products are computed. Throws a usage Error where the device cannot.
struct Arithmetic {
  DType act;
  MatmulMode matmul;
};
Arithmetic parse_precision(const std::string& precision, const Device& device);

// The bytes that logits may take: as set, or by default 256 MiB on a CPU and a quarter of the free memory, at most
// 16 GB, on a GPU.
size_t logits_budget(int64_t setting, const Device& device);

}  // namespace unroll::cli
