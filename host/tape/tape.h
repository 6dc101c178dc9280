// The tape: values with gradient slots, a list of records, and the walk back over it.
//
// An op in host/ops does four things, in this order: make outputs, call the kernel, decide what to
// save, append a record with its name and a backward callable that captured only what it needs. A
// gradient has a first writer, which overwrites, and later ones, which add: nothing is cleared, and
// fan-out needs no code. After a record has run, what it saved and the gradients of its outputs are
// released.
//
// Work that only the gradients of weights need is put aside: it runs on the side branch
// (host/device/side_branch.h) while the walk goes on. What the memory of such work could meet is
// kept apart from it by the tape: what the work captured and asked for lives until the branches are
// joined, and they are joined before the main branch touches a gradient that the side has written,
// at the latest at the end of the walk. No event stands between two kernels of a chain that starts
// early: only the passes of a recurrent layer have such chains, and what forks or joins is beside
// them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/device/side_branch.h"
#include "host/memory/arena.h"
#include "host/memory/param_store.h"
#include "host/memory/tensor.h"
#include "kernels/base/exec.h"
#include "kernels/base/mask_key.h"
#include "kernels/base/row_gradient.h"

namespace unroll {

class StepTimes;

// Not train or evaluate: dynamic evaluation records without noise, Monte-Carlo dropout has noise
// without recording.
struct Mode {
  bool record = false;
  bool noise = false;
  static constexpr Mode training() { return {true, true}; }
  static constexpr Mode evaluation() { return {}; }
};

// A value on the tape and its gradient's slot. Values that need no gradient have no slot.
class Var {
 public:
  Var() = default;
  Var(Tensor value, bool needs_gradient);
  const Tensor& value() const { return value_; }
  View2 matrix() const { return value_.matrix(); }
  View3 sequence() const { return value_.view<3>(); }

  struct Slot;
  const std::shared_ptr<Slot>& slot() const { return slot_; }

 private:
  Tensor value_;
  std::shared_ptr<Slot> slot_;
};

// A gradient to write to, and whether to overwrite or to add.
template <int R>
struct GradientSink {
  AnyView<R> view;
  Accumulate mode;
};

class Tape {
 public:
  // `mask_counter` is the step's seed and mask step on the device. With `add_to_gradients`, weight
  // gradients are added to what the slab holds: every micro-step of an accumulated step but the
  // first. Without a `side`, nothing is put aside. `times` is told of every op.
  Tape(const Exec& exec, Arena& arena, const ParamStore& params, Mode mode,
       const View1& mask_counter, bool add_to_gradients = false, SideBranch* side = nullptr,
       StepTimes* times = nullptr);

  // Of the branch that work is given to just now.
  const Exec& exec() const { return exec_; }
  Arena& arena() const { return arena_; }
  const ParamStore& params() const { return params_; }
  Mode mode() const { return mode_; }
  DType act() const { return params_.act(); }
  DType acc() const { return params_.acc(); }

  Tensor tensor(DType dtype, std::initializer_list<int64_t> shape) const;
  // A value that takes a gradient when the tape records.
  Var var(Tensor value) const { return Var(std::move(value), mode_.record); }
  // Bytes for one kernel call.
  Scratch scratch(Tensor& holder, size_t bytes) const;
  // The same where they are for logits, which the estimate of a run's memory names apart.
  Scratch logits_scratch(Tensor& holder, size_t bytes) const;
  // A key no other mask of this step has; the same for the same place in the program.
  MaskKey next_mask_key() { return {mask_counter_, next_mask_++}; }

  // At the end of an op's forward pass. `backward` is dropped unless the tape records.
  void record(const char* op, std::function<void(Tape&)> backward);
  // Calls `work` with this tape, whose exec() is the side branch's meanwhile. The work may wait
  // for nothing but what the main branch was given before, writes gradients of weights and its own
  // tensors and nothing else, and captures each tensor that it reads: what it captures is kept
  // until the branches are joined. For a tape that records; backward() joins.
  void aside(std::function<void(Tape&)> work);
  bool has_side() const { return side_ != nullptr; }
  // What the op under way has done since its beginning or the part before is this part of it.
  void part(const char* name) const;
  // The gradient of a value for an op that contributes to it.
  GradientSink<2> gradient_sink(const std::shared_ptr<Var::Slot>& slot);
  // The whole gradient of an output, for its op's backward; null if nothing wrote to it.
  Tensor gradient(const std::shared_ptr<Var::Slot>& slot) const;
  GradientSink<2> gradient_sink(Param p);
  GradientSink<1> vector_gradient_sink(Param p);
  // For ParamStore::row_params() alone, whose gradients have no place in the slab: one op gives each
  // of them, in memory of the tape: those of this chunk. Throws Error where there is another one.
  void give_row_gradient(Param p, Tensor words, Tensor rows);
  // Of the row_params() in their order; one that was not given is empty.
  std::vector<RowGradient> row_gradients() const;

  // Runs the records from last to first and empties the tape.
  void backward();
  // The names of the records, one a line: golden texts of tests.
  std::string dump() const;

 private:
  Accumulate first_or_add(Param p);
  void join();
  // Who wrote a gradient last, of what the branches have not been joined after.
  enum class Writer : uint8_t { none, main, side };
  struct Record {
    const char* op;
    std::function<void(Tape&)> backward;
    int timed;  // of StepTimes
  };
  Exec exec_;
  Arena& arena_;
  const ParamStore& params_;
  Mode mode_;
  View1 mask_counter_;
  uint32_t next_mask_ = 0;
  std::vector<Record> records_;
  std::vector<Writer> param_writer_;
  struct RowTensors {
    Tensor words, rows;
  };
  std::map<int, RowTensors> row_gradients_;  // by Param::index
  SideBranch* side_;
  StepTimes* times_;
  bool aside_ = false;  // work is given to the side
  // Until the join: work that was put aside, with its captures, and what it has asked for.
  std::vector<std::function<void(Tape&)>> work_aside_;
  mutable std::vector<Tensor> memory_aside_;
};

// Where the gradient of a value collects; it outlives the value and knows its shape.
struct Var::Slot {
  DType dtype;
  int rank;
  int64_t n[3];
  Tensor gradient;  // empty until the first writer
};

}  // namespace unroll
