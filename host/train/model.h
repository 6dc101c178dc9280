// What a language model has to offer to be trained, evaluated and sampled from. A model composes
// ops; it has no backward pass, no device and no pointer.
#pragma once

#include <vector>

#include "host/tape/tape.h"
#include "host/train/state.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

// One chunk of a batch, on the device.
struct Chunk {
  int T = 0, B = 0;
  View1 input;      // [T*B]  i32, step-major; negative: padding
  View1 target;     // [T*B]  i32; negative: not scored
  View1 weight;     // [T*B]  acc: each token's share in the objective
  View1 lengths{};  // [B]    i32; left out when every lane is full
  View1 keep;       // [B]    i32: 1 carries the state in, 0 starts from zero
  size_t logits_bytes = size_t(256) << 20;  // how much memory logits may take
  std::vector<int64_t> room{};  // for rows of each cluster of words; empty: for all rows in each
  bool finetuning = false;      // of the second phase, whose regularisers may have other strengths
};

class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  // What each layer carries between chunks.
  virtual std::vector<StateShape> state_shape() const = 0;
  // The vectors fed to the output layer: [T,B,D].
  virtual Var hidden(Tape& tape, const Chunk& chunk, const State& state) const = 0;
  // -log p of every target, nats: [T*B].
  virtual Tensor loss(Tape& tape, const Var& hidden, const Chunk& chunk) const = 0;
  // log p of every word: [T*B,V].
  virtual Tensor log_probabilities(Tape& tape, const Var& hidden) const = 0;
  virtual int vocabulary_size() const = 0;
  // Whether a pass with dropout or other noise differs from one without.
  virtual bool noisy() const = 0;
  // Sizes that depend on a chunk's targets, for an output layer that has such: a captured step
  // holds for chunks of the same shape and room. Empty where it has none.
  virtual std::vector<int64_t> room(const std::vector<int32_t>& /*target*/) const { return {}; }
  // How each recurrent layer walks through chunks of this size, and why. Throws a usage Error where
  // the schedule asked for cannot run.
  virtual std::vector<ScheduleChoice> schedules(const Exec&, DType, int /*T*/, int /*B*/) const {
    return {};
  }
};

}  // namespace unroll
