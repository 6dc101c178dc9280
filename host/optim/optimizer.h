// An update rule with its slots over the whole weight slab, clipping included: three launches for
// the whole model, one more for each matrix whose gradient is kept by rows, and no host read in
// between. See kernels/update.
#pragma once

#include <string>
#include <vector>

#include "host/device/backend.h"
#include "host/io/config.h"
#include "host/memory/buffer.h"
#include "host/memory/param_store.h"
#include "kernels/base/row_gradient.h"
#include "kernels/update/update.h"

namespace unroll {

// Weights whose gradient is clipped by a norm of their own.
struct ClipGroup {
  std::string pattern;  // of names, as a shell's: "rnn.*"
  double clip = -1;     // bound; 0: not clipped; below 0: UpdateInputs::clip
};

struct OptimizerSettings {
  using Rule = UpdateRule;
  Rule rule = Rule::sgd;
  double decay = 0;  // weight decay, added after clipping
  double momentum = 0.9;
  bool nesterov = false;
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  double accumulator = 0;  // Adagrad: what the sums of squares start from
  // A weight is in the first group that its name matches; those in none are one more group.
  std::vector<ClipGroup> clip_groups;
};

// What the configuration asks for; "nt-asgd" is ASGD, whose mean the trainer starts. Throws a usage
// Error for clip_groups that cannot be read.
OptimizerSettings optimizer_settings(const Config& config);

// Whether gradients may be kept by rows: the rule leaves rows alone that have no gradient. For
// ParamStore::keep_row_gradients.
bool allows_row_gradients(const Config& config);

class Optimizer {
 public:
  // Throws a usage Error where a clip group holds no weight, and an Error where a gradient is kept by
  // rows and the rule moves the others, too.
  Optimizer(const Backend& backend, const ParamStore& params, const OptimizerSettings& settings);

  // Clips and updates. Reads learning rate and clip from `inputs` (UpdateInputs, f64, on the
  // device); writes the weights and, for bf16, their shadow. scratch: scratch_bytes(). `rows` are the
  // gradients of params.row_params().
  void update(const Exec& exec, const ParamStore& params, const View1& inputs,
              const Scratch& scratch, const std::vector<RowGradient>& rows = {}) const;
  size_t scratch_bytes() const;
  // [1] f64 on the device: squared norm of the whole gradient of the last update, before clipping.
  View1 norm2() const;

  // ASGD: the mean starts anew, from the weights as they are.
  void begin_mean(const Backend& backend, const ParamStore& params) const;
  // ASGD: swaps the contents of the weights and of their mean; again to swap them back.
  void swap_mean(const Exec& exec, const ParamStore& params) const;

  // What a checkpoint has to keep, by name.
  struct Slot {
    std::string name;
    const Buffer* memory;
  };
  std::vector<Slot> slots() const;

 private:
  OptimizerSettings settings_;
  Buffer a_, b_, counts_, scales_, pieces_, group_first_, clips_;
  Buffer whole_;                     // pieces of the weights whose gradient is in the slab
  std::vector<int64_t> row_groups_;  // of the weights whose gradients are kept by rows
};

}  // namespace unroll
