// Dynamic evaluation: the weights follow the text that is being scored. See
// kernels/update/dynamic_update.h for the rule and its source.
#pragma once

#include "host/data/chunk.h"
#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "host/memory/param_store.h"
#include "host/train/scheduler.h"

namespace unroll {

// Defaults as in the authors' current code, for segments of 5 tokens and the mean loss of a
// segment. The paper's own figures are in an older scale.
struct DynamicOptions {
  double lr = 5e-5;      // eta
  double lambda = 2e-3;  // decay towards the trained weights
  double eps = 2e-5;
  int segment = 5;  // tokens scored before each update
};

// RMS of the gradients of the segments of a training text, with fixed weights and without noise.
class GradientStatistics {
 public:
  // Lanes of text side by side, so that one gradient is that of lanes x segment tokens.
  static constexpr int kLanes = 100;

  // Reads the whole source, full chunks only. `scheduler` has room for its chunks. The weights stay
  // as they are. Throws a model Error where gradients are not finite.
  GradientStatistics(const Backend& backend, const LanguageModel& model, const ParamStore& params,
                     Scheduler& scheduler, ChunkSource& source);

  View1 rms() const { return rms_view_; }         // [n] as the slab of weights
  double mean() const { return mean_; }           // over tensors, of each tensor's mean
  int64_t segments() const { return segments_; }  // gradients that were summed

 private:
  void finish(const Backend& backend, const ParamStore& params);
  Buffer rms_;
  View1 rms_view_;
  double mean_ = 0;
  int64_t segments_ = 0;
};

// While it lives the weights may move; its end puts the trained ones back.
class DynamicWeights {
 public:
  // Borrows everything.
  DynamicWeights(const Backend& backend, const ParamStore& params,
                 const GradientStatistics& statistics, const DynamicOptions& options);
  ~DynamicWeights();
  DynamicWeights(const DynamicWeights&) = delete;
  DynamicWeights& operator=(const DynamicWeights&) = delete;

  // One update from the gradients in their slab, in stream order.
  void update(const Exec& exec) const;

 private:
  const Backend& backend_;
  const ParamStore& params_;
  const GradientStatistics& statistics_;
  DynamicOptions options_;
  Buffer trained_;
};

}  // namespace unroll
