// An update rule with its slots: SGD or Adam over the whole weight slab, clipping included. Two
// launches for the whole model, and no host read in between. See kernels/update.
#pragma once

#include <string>
#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "host/memory/param_store.h"

namespace unroll {

struct OptimizerSettings {
  enum class Rule { sgd, adam } rule = Rule::sgd;
  double decay = 0;  // weight decay, added after clipping
  double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
};

class Optimizer {
 public:
  Optimizer(const Backend& backend, const ParamStore& params, const OptimizerSettings& settings);

  // Reads learning rate, clip and step number from `inputs` (UpdateInputs, f64, on the device) and
  // the squared gradient norm from `norm2`; writes the weights and, for bf16, their shadow.
  void update(const Exec& exec, const ParamStore& params, const View1& norm2,
              const View1& inputs) const;

  // What a checkpoint has to keep, by name; each as long as the weight slab, in the accumulate
  // type.
  struct Slot {
    std::string name;
    const Buffer* memory;
  };
  std::vector<Slot> slots() const;
  static size_t bytes(const OptimizerSettings& settings, const ParamStore& params, DType act);

 private:
  OptimizerSettings settings_;
  Buffer m_, v_;
};

}  // namespace unroll
