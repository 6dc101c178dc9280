#include "host/ops/weight_drop.h"

#include "kernels/regularize/weight_drop.h"

namespace unroll {
namespace {

// The weights themselves, where `weight` may give a copy in less precision.
View2 master(const ParamStore& params, Param p) {
  const ParamStore::Entry& e = params.entries()[size_t(p.index)];
  return view_of(static_cast<char*>(params.slab().data) + size_t(e.offset) * size_of(params.acc()),
                 params.acc(), e.rows, e.columns);
}

}  // namespace

DroppedWeight weight_drop(Tape& tape, Param R, double p, bool masked_by_passes) {
  DroppedWeight weight;
  weight.R = tape.params().weight(R);
  if (!tape.mode().noise || p == 0) return weight;
  const int64_t rows = weight.R.n[0], columns = weight.R.n[1];
  weight.p = p;
  weight.bits = tape.tensor(DType::u32, {rows, weight_drop_words(columns)});
  if (!masked_by_passes) {
    weight.copy = tape.tensor(tape.act(), {rows, columns});
    weight.R = weight.copy.matrix();
  }
  weight_drop_forward(tape.exec(), {.y = weight.copy ? weight.R : View2{},
                                    .bits = weight.bits.matrix(),
                                    .x = master(tape.params(), R),
                                    .p = p,
                                    .key = tape.next_mask_key()});
  tape.part("weight mask");
  return weight;
}

void weight_drop_gradient(Tape& tape, Param R, const DroppedWeight& weight,
                          const std::function<void(const GradientSink<2>&)>& write) {
  const GradientSink<2> dR = tape.gradient_sink(R);
  if (!weight.bits) return write(dR);
  // In place, unless there are gradients of earlier micro-steps, which other bits have masked.
  Tensor holder;
  View2 of_copy = dR.view;
  if (dR.mode == Accumulate::add) {
    holder = tape.tensor(tape.acc(), {of_copy.n[0], of_copy.n[1]});
    of_copy = holder.matrix();
  }
  write({of_copy, Accumulate::overwrite});
  tape.part("products");
  weight_drop_backward(tape.exec(), {.dx = dR.view,
                                     .dy = of_copy,
                                     .bits = weight.bits.matrix(),
                                     .p = weight.p,
                                     .to_dx = dR.mode});
  tape.part("weight mask");
}

}  // namespace unroll
