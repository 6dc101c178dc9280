// Everything that varies from step to step, in one block on the device: tokens, targets, weights,
// lengths, learning rate, clip, seed and counters. A captured step reads it and nothing else from
// the host.
//
// The host fills one of two pinned copies while the device may still read the other; an event
// guards each.
#pragma once

#include <cstdint>

#include "host/data/chunk.h"
#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "host/train/model.h"
#include "kernels/update/step_scales.h"

namespace unroll {

// The scalars of one step.
struct StepScalars {
  UpdateInputs update{};  // learning rate, clip, whether the update is averaged
  uint64_t seed = 0;
  uint64_t mask_step = 0;   // distinct for every step that draws masks
  double weight = 1;        // of each scored token in the objective
  bool finetuning = false;  // which phase's regularisers the model takes: Chunk::finetuning
};

class StepInputs {
 public:
  // Room for chunks of up to max_tokens = T*B tokens in up to max_lanes lanes.
  StepInputs(const Backend& backend, int max_tokens, int max_lanes, DType acc);

  // Copies a chunk and its scalars to the device, in stream order; waits only if the pinned copy is
  // still being read, two steps later. Throws Error if the chunk has no room.
  void send(const Backend& backend, const HostChunk& chunk, const StepScalars& scalars);

  // The block as ops see it: the addresses depend on T and B only.
  Chunk chunk(int T, int B, bool has_lengths) const;
  View1 update_inputs() const;  // [kUpdateInputs] f64
  View1 mask_counter() const;   // [2] u64
  size_t bytes() const { return device_.bytes(); }

 private:
  struct Offsets {
    size_t update, counter, input, target, weight, lengths, keep, end;
  };
  Offsets at_;
  int max_tokens_, max_lanes_;
  DType acc_;
  Buffer device_, pinned_[2];
  Event copied_[2];
  int next_ = 0;
};

}  // namespace unroll
