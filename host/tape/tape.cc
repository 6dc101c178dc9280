#include "host/tape/tape.h"

#include <utility>

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
           const View1& mask_counter, bool add_to_gradients)
    : exec_(exec),
      arena_(arena),
      params_(params),
      mode_(mode),
      mask_counter_(mask_counter),
      param_written_(params.entries().size(), add_to_gradients) {}

Scratch Tape::scratch(Tensor& holder, size_t bytes) const {
  if (bytes == 0) return {};
  holder = tensor(DType::u8, {int64_t(bytes)});
  return {holder.view<1>().data, bytes};
}

void Tape::record(const char* op, std::function<void(Tape&)> backward) {
  if (mode_.record) records_.push_back({op, std::move(backward)});
}

GradientSink<2> Tape::gradient_sink(const std::shared_ptr<Var::Slot>& slot) {
  if (!slot) return {};
  const bool first = !slot->gradient;
  if (first)
    slot->gradient = slot->rank == 2 ? tensor(slot->dtype, {slot->n[0], slot->n[1]})
                                     : tensor(slot->dtype, {slot->n[0], slot->n[1], slot->n[2]});
  return {slot->gradient.matrix(), first ? Accumulate::overwrite : Accumulate::add};
}

Tensor Tape::gradient(const std::shared_ptr<Var::Slot>& slot) const { return slot->gradient; }

Accumulate Tape::first_or_add(Param p) {
  const bool written = param_written_[size_t(p.index)];
  param_written_[size_t(p.index)] = true;
  return written ? Accumulate::add : Accumulate::overwrite;
}
GradientSink<2> Tape::gradient_sink(Param p) { return {params_.gradient(p), first_or_add(p)}; }
GradientSink<1> Tape::vector_gradient_sink(Param p) {
  if (!p) return {};
  return {params_.vector_gradient(p), first_or_add(p)};
}
void Tape::give_row_gradient(Param p, Tensor words, Tensor rows) {
  UNROLL_CHECK(first_or_add(p) == Accumulate::overwrite,
               "the gradient of " + params_.entries()[size_t(p.index)].name +
                   " is kept by rows, and there is one already: of another op, or of another chunk "
                   "of this update; ParamStore::keep_row_gradient is for one");
  row_words_ = std::move(words);
  rows_ = std::move(rows);
}
RowGradient Tape::row_gradient() const {
  return rows_ ? RowGradient{row_words_.view<1>(), rows_.matrix()} : RowGradient{};
}

void Tape::backward() {
  while (!records_.empty()) {
    // Moved out first: the record's captures die with it, before the next one asks for memory.
    Record record = std::move(records_.back());
    records_.pop_back();
    record.backward(*this);
  }
}

std::string Tape::dump() const {
  std::string text;
  for (const Record& r : records_) text += std::string(r.op) + "\n";
  return text;
}

}  // namespace unroll
