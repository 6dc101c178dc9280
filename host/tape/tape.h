// The tape: values with gradient slots, a list of records, and the walk back over it.
//
// An op in host/ops does four things, in this order: make outputs, call the kernel, decide what to
// save, append a record with its name and a backward callable that captured only what it needs. A
// gradient has a first writer, which overwrites, and later ones, which add: nothing is cleared, and
// fan-out needs no code. After a record has run, what it saved and the gradients of its outputs are
// released.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/memory/arena.h"
#include "host/memory/param_store.h"
#include "host/memory/tensor.h"
#include "kernels/base/exec.h"
#include "kernels/base/mask_key.h"
#include "kernels/base/row_gradient.h"

namespace unroll {

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
  // `step` names the step's seed and mask step on the device. With `add_to_gradients`, weight
  // gradients are added to what the slab holds: every micro-step of an accumulated step but the
  // first.
  Tape(const Exec& exec, Arena& arena, const ParamStore& params, Mode mode,
       const View1& mask_counter, bool add_to_gradients = false);

  const Exec& exec() const { return exec_; }
  Arena& arena() const { return arena_; }
  const ParamStore& params() const { return params_; }
  Mode mode() const { return mode_; }
  DType act() const { return params_.act(); }
  DType acc() const { return params_.acc(); }

  Tensor tensor(DType dtype, std::initializer_list<int64_t> shape) const {
    return Tensor(arena_, dtype, shape);
  }
  // A value that takes a gradient when the tape records.
  Var var(Tensor value) const { return Var(std::move(value), mode_.record); }
  // Bytes for one kernel call.
  Scratch scratch(Tensor& holder, size_t bytes) const;
  // A key no other mask of this step has; the same for the same place in the program.
  MaskKey next_mask_key() { return {mask_counter_, next_mask_++}; }

  // Nothing happens unless the tape records.
  void record(const char* op, std::function<void(Tape&)> backward);
  // The gradient of a value for an op that contributes to it.
  GradientSink<2> gradient_sink(const std::shared_ptr<Var::Slot>& slot);
  // The whole gradient of an output, for its op's backward; null if nothing wrote to it.
  Tensor gradient(const std::shared_ptr<Var::Slot>& slot) const;
  GradientSink<2> gradient_sink(Param p);
  GradientSink<1> vector_gradient_sink(Param p);
  // For ParamStore::row_param() alone, whose gradient has no place in the slab: one op gives it, in
  // memory of the tape. Throws Error where there is another one, or one of an earlier chunk.
  void give_row_gradient(Param p, Tensor words, Tensor rows);
  RowGradient row_gradient() const;  // not given without one

  // Runs the records from last to first and empties the tape.
  void backward();
  // The names of the records, one a line: golden texts of tests.
  std::string dump() const;

 private:
  Accumulate first_or_add(Param p);
  struct Record {
    const char* op;
    std::function<void(Tape&)> backward;
  };
  Exec exec_;
  Arena& arena_;
  const ParamStore& params_;
  Mode mode_;
  View1 mask_counter_;
  uint32_t next_mask_ = 0;
  std::vector<Record> records_;
  std::vector<bool> param_written_;
  Tensor row_words_, rows_;
};

// Where the gradient of a value collects; it outlives the value and knows its shape.
struct Var::Slot {
  DType dtype;
  int rank;
  int64_t n[3];
  Tensor gradient;  // empty until the first writer
};

}  // namespace unroll
