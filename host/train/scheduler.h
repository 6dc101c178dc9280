// Runs chunks on the device: measured once for memory, eager the first time, captured as a CUDA
// graph the second time and replayed from then on, with the same bits.
//
//   host     fill pinned copy n mod 2 · copy · launch(n) · fill the other · copy · launch(n+1) · …
//   stream   forward → loss → backward → ‖dθ‖² → clip and update θ → carry h, c → append figures
//   beside                    └ dR, dW, db ┘
//
// A step allocates nothing, reads nothing back and never waits for the device; its figures go to a
// ring that take_figures reads later.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "host/data/chunk.h"
#include "host/device/backend.h"
#include "host/device/graph.h"
#include "host/memory/arena.h"
#include "host/memory/param_store.h"
#include "host/ops/row_sums.h"
#include "host/optim/optimizer.h"
#include "host/tape/step_times.h"
#include "host/train/model.h"
#include "host/train/state.h"
#include "host/train/step_inputs.h"

namespace unroll {

// One step's figures.
struct StepFigures {
  double nats;    // sum of -log p over the scored tokens
  double tokens;  // number of scored tokens
  double norm2;   // squared norm of the whole gradient before clipping; 0 in evaluation
};

// What else is done with a chunk that is scored, on the device and as part of the same program.
class ScoreHook {
 public:
  virtual ~ScoreHook() = default;
  // After the losses. `hidden` is what the output layer read.
  virtual void scored(Tape& /*tape*/, const Var& /*hidden*/, const Chunk& /*chunk*/) {}
  // After the backward pass of a pass that records: the gradients of all weights lie in their slab.
  virtual void differentiated(const Exec& /*exec*/) {}
};

// How a chunk is scored where that is more than reading it.
struct ScorePass {
  Mode mode = Mode::evaluation();
  StepScalars scalars{};      // masks where there is noise, weights of tokens where it records
  ScoreHook* hook = nullptr;  // borrowed until the scheduler's end
};

class Scheduler {
 public:
  struct Options {
    int max_tokens = 0;   // largest T*B of any chunk
    int max_lanes = 0;    // largest B
    int micro_steps = 1;  // of an update, at most
    bool eager = false;   // never capture
    size_t logits_bytes = size_t(256) << 20;
    // On a GPU, gradients of weights on a branch of their own (host/device/side_branch.h): every
    // model has a recurrent layer, and its loop leaves multiprocessors free. The same bits.
    bool side_branch = true;
    StepTimes* times = nullptr;  // of training; borrowed. Then never captured, and no branch
  };
  // Borrows everything; `optimizer` may be null where nothing is trained.
  Scheduler(const Backend& backend, const LanguageModel& model, const ParamStore& params,
            const Optimizer* optimizer, const Options& options);

  // One micro-step of training. `first` overwrites the gradients, later ones add; `last` updates
  // the weights.
  void train(const HostChunk& chunk, const State& state, const StepScalars& scalars,
             bool first = true, bool last = true);
  // Scores a chunk; its figures go to the ring.
  void evaluate(const HostChunk& chunk, const State& state, const StepScalars& scalars = {});
  // Scores a chunk and waits: -log p of every token in nats, [T*B], 0 where the target is negative.
  std::vector<double> score(const HostChunk& chunk, const State& state, const ScorePass& pass = {});
  // Feeds one token per lane and waits: log p of every next word, [B,V].
  std::vector<double> next_word(const std::vector<int32_t>& tokens,
                                const std::vector<int32_t>& keep, const State& state);

  // The figures of all steps since the last call, oldest first; waits for them.
  std::vector<StepFigures> take_figures();

  // What one step of this shape needs of the arena, without running it.
  struct Needs {
    size_t bytes;
    size_t logits;  // the part of them that logits take at most
  };
  Needs measure(bool training, int T, int B, bool has_lengths, const State& state);

  // Makes room for steps of this shape and all shorter ones, so that captured graphs can stay.
  void reserve(bool training, int T, int B, bool has_lengths, const State& state);

  size_t arena_bytes() const { return arena_.capacity(); }
  size_t graphs() const;            // captured so far
  size_t graph_nodes() const;       // of the last program that ran captured; 0 if none
  size_t persistent_bytes() const;  // step inputs, ring and output buffers

 private:
  enum class Kind { train, evaluate, score, next_word };
  struct Key {
    Kind kind;
    int T, B;
    bool has_lengths, first, last;
    const void* state;                   // a graph holds the state's addresses
    bool record = false, noise = false;  // of a score
    ScoreHook* hook = nullptr;
    std::vector<int64_t> room{};  // as the model gives it for the chunk's targets
    bool finetuning = false;
    int micro = 0;  // of an update's micro-steps, where gradients are kept by rows
    auto operator<=>(const Key&) const = default;
  };
  struct Program {
    int uses = 0;
    Graph graph;
  };
  void body(const Exec& exec, const Key& key, const State& state);
  Needs measure(const Key& key, const State& state);
  void reserve(size_t bytes);
  void run(const Key& key, const State& state);
  void append_figures(const Exec& exec, const Tensor& nll, const Chunk& chunk, bool with_norm);
  void drain();
  void drop_graphs(bool (*which)(const Key&));
  void reserve_output(size_t bytes);  // graphs without output stay
  std::vector<double> read_output(int64_t n);

  const Backend& backend_;
  const LanguageModel& model_;
  const ParamStore& params_;
  const Optimizer* optimizer_;
  Options options_;
  std::optional<RowSums> row_sums_;  // where there is more than one micro-step
  int micro_ = 0;
  Arena arena_;
  StepInputs inputs_;
  Buffer ring_, slot_, ring_copy_, output_, output_copy_;
  std::map<Key, Program> programs_;
  const Program* last_captured_ = nullptr;
  uint64_t issued_ = 0, read_ = 0;
  std::vector<StepFigures> figures_;
};

}  // namespace unroll
