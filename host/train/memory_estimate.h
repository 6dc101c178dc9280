// How much memory a run will take, known before its first step.
#pragma once

#include "host/train/trainer.h"

namespace unroll {

// The shapes a run will use.
struct MemoryNeeds {
  bool sentences = false;
  int T = 0, B = 0;  // of training chunks
  int eval_T = 0, eval_lanes = 0;
  size_t optimizer = 0, states = 0;
};

// The bytes that logits may take: `setting`, or where that is 0, 256 MiB on a CPU and a quarter of
// the free memory, at most 16 GiB, on a GPU.
size_t logits_budget(int64_t setting, const Device& device);

// Weights and slots as they are, activations from measuring runs of the very program.
MemoryEstimate estimate_memory(const Backend& backend, const ParamStore& params,
                               Scheduler& scheduler, const State& carried, const State& valid,
                               const MemoryNeeds& needs);

// Throws a resource Error where the device has not that much: need and have, by part, and three
// flags that help.
void require_memory(const Backend& backend, const MemoryEstimate& estimate);

// The same before any weight is allocated, from the declared weights alone. `slots` is the number
// of optimiser slots, 2 for Adam.
void require_weights(const Device& device, const ParamStore& params, DType act, int slots);

}  // namespace unroll
