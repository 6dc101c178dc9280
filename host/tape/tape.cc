#include "host/tape/tape.h"

#include <algorithm>
#include <utility>

#include "host/tape/step_times.h"
#include "kernels/base/error.h"

namespace unroll {

Var::Var(Tensor value, bool needs_gradient) : value_(std::move(value)) {
  if (!needs_gradient) return;
  slot_ = std::make_shared<Slot>();
  slot_->dtype = value_.dtype();
  slot_->rank = value_.rank();
  for (int r = 0; r < value_.rank(); ++r) slot_->n[r] = value_.extent(r);
}

Tape::Tape(const Exec& exec, Arena& arena, const ParamStore& params, Mode mode,
           const View1& mask_counter, bool add_to_gradients, SideBranch* side, StepTimes* times)
    : exec_(exec),
      arena_(arena),
      params_(params),
      mode_(mode),
      mask_counter_(mask_counter),
      param_writer_(params.entries().size(), add_to_gradients ? Writer::main : Writer::none),
      side_(side),
      times_(times) {}

Tensor Tape::tensor(DType dtype, std::initializer_list<int64_t> shape) const {
  Tensor t(arena_, dtype, shape);
  if (aside_) memory_aside_.push_back(t);
  return t;
}

Scratch Tape::scratch(Tensor& holder, size_t bytes) const {
  if (bytes == 0) return {};
  holder = tensor(DType::u8, {int64_t(bytes)});
  return {holder.view<1>().data, bytes};
}

Scratch Tape::logits_scratch(Tensor& holder, size_t bytes) const {
  arena_.note_logits(bytes);
  return scratch(holder, bytes);
}

void Tape::record(const char* op, std::function<void(Tape&)> backward) {
  const int timed = times_ ? times_->end_forward(op) : -1;
  if (mode_.record) records_.push_back({op, std::move(backward), timed});
}

void Tape::part(const char* name) const {
  if (times_) times_->part(name);
}

// A measuring run does all of this but for the events, so that it sees the same lifetimes.
void Tape::aside(std::function<void(Tape&)> work) {
  if (!side_) return work(*this);
  UNROLL_CHECK(mode_.record && !aside_,
               "work is put aside on a tape that does not record, or by work that is aside itself");
  if (exec_.kind != DeviceKind::none) side_->fork();
  const Exec main = std::exchange(exec_, side_->beside(exec_));
  aside_ = true;
  work(*this);
  aside_ = false;
  exec_ = main;
  work_aside_.push_back(std::move(work));
}

void Tape::join() {
  if (work_aside_.empty()) return;
  if (exec_.kind != DeviceKind::none) side_->join();
  work_aside_.clear();
  memory_aside_.clear();
  std::replace(param_writer_.begin(), param_writer_.end(), Writer::side, Writer::main);
}

GradientSink<2> Tape::gradient_sink(const std::shared_ptr<Var::Slot>& slot) {
  if (!slot) return {};
  UNROLL_CHECK(!aside_, "work that was put aside writes a gradient that is not of a weight");
  const bool first = !slot->gradient;
  if (first)
    slot->gradient = slot->rank == 2 ? tensor(slot->dtype, {slot->n[0], slot->n[1]})
                                     : tensor(slot->dtype, {slot->n[0], slot->n[1], slot->n[2]});
  return {slot->gradient.matrix(), first ? Accumulate::overwrite : Accumulate::add};
}

Tensor Tape::gradient(const std::shared_ptr<Var::Slot>& slot) const { return slot->gradient; }

Accumulate Tape::first_or_add(Param p) {
  // The side needs no join: its fork is later than all that the main branch has written.
  if (param_writer_[size_t(p.index)] == Writer::side && !aside_) join();
  const Writer before =
      std::exchange(param_writer_[size_t(p.index)], aside_ ? Writer::side : Writer::main);
  return before == Writer::none ? Accumulate::overwrite : Accumulate::add;
}
GradientSink<2> Tape::gradient_sink(Param p) { return {params_.gradient(p), first_or_add(p)}; }
GradientSink<1> Tape::vector_gradient_sink(Param p) {
  if (!p) return {};
  return {params_.vector_gradient(p), first_or_add(p)};
}
void Tape::give_row_gradient(Param p, Tensor words, Tensor rows) {
  UNROLL_CHECK(row_gradients_.count(p.index) == 0, "the gradient of " +
                                                       params_.entries()[size_t(p.index)].name +
                                                       " is kept by rows, and two ops give one");
  row_gradients_[p.index] = {std::move(words), std::move(rows)};
}
std::vector<RowGradient> Tape::row_gradients() const {
  std::vector<RowGradient> all;
  for (const Param p : params_.row_params()) {
    const auto given = row_gradients_.find(p.index);
    all.push_back(given == row_gradients_.end()
                      ? RowGradient{}
                      : RowGradient{given->second.words.view<1>(), given->second.rows.matrix()});
  }
  return all;
}

void Tape::backward() {
  while (!records_.empty()) {
    // Moved out first: the record's captures die with it, before the next one asks for memory.
    Record record = std::move(records_.back());
    records_.pop_back();
    if (times_) times_->begin_backward(record.timed);
    record.backward(*this);
    if (times_) times_->end_backward();
  }
  join();
}

std::string Tape::dump() const {
  std::string text;
  for (const Record& r : records_) text += std::string(r.op) + "\n";
  return text;
}

}  // namespace unroll
