#include "host/ops/linear_softmax_xent.h"

#include "host/ops/linear.h"
#include "kernels/elementwise/add.h"
#include "kernels/heads/adversarial_target.h"

namespace unroll {

Tensor linear_softmax_xent(Tape& tape, const Var& x, Param W, Param b, const View1& target,
                           const View1& weight, size_t logits_bytes, const XentOptions& options,
                           const View1& shift) {
  const View2 rows = x.matrix();
  const View2 weights = tape.params().weight(W);
  const int64_t N = rows.n[0], D = rows.n[1], V = weights.n[0];
  Tensor nll = tape.tensor(tape.acc(), {N});
  LinearSoftmaxXent args{.loss = nll.view<1>(),
                         .x = rows,
                         .W = weights,
                         .b = tape.params().vector(b),
                         .target = target,
                         .options = options};
  Tensor dx;
  if (!tape.mode().record || !tape.mode().noise)
    args.options.label_smoothing = args.options.z_loss = 0;
  if (tape.mode().record) {
    dx = x.value().like(tape.arena());
    args.dx = dx.matrix();
    args.dloss = weight;
    args.shift = shift;
  }
  {
    Tensor holder;
    args.scratch = tape.logits_scratch(
        holder, linear_softmax_xent_scratch_bytes(tape.exec(), tape.act(), N, D, V,
                                                  tape.mode().record, logits_bytes));
    const View2 dz = tape.has_side() ? logits_gradient(tape.exec(), args) : View2{};
    if (tape.mode().record && !dz) {
      const GradientSink<2> dW = tape.gradient_sink(W);
      const GradientSink<1> db = tape.vector_gradient_sink(b);
      args.dW = dW.view;
      args.to_dW = dW.mode;
      args.db = db.view;
      args.to_db = db.mode;
    }
    linear_softmax_xent(tape.exec(), args);
    if (dz)  // stands in `holder`
      tape.aside([holder, dz, x = x.value(), W, b](Tape& t) {
        add_linear_gradients(t, dz, x.matrix(), W, b);
      });
  }
  if (args.shift)
    adversarial_dx(tape.exec(),
                   {.dx = args.dx, .x = rows, .nll = args.loss, .shift = shift, .dloss = weight});
  tape.record("linear_softmax_xent", [dx, slot = x.slot()](Tape& t) {
    if (!slot->gradient) {
      slot->gradient = dx;
      return;
    }
    const GradientSink<2> sink = t.gradient_sink(slot);
    add_scaled(t.exec(), {.y = sink.view, .x = dx.matrix(), .to_y = sink.mode});
  });
  return nll;
}

Tensor linear_log_softmax(Tape& tape, const Var& x, Param W, Param b, double soft_cap) {
  const View2 weights = tape.params().weight(W);
  Tensor log_p = tape.tensor(tape.acc(), {x.matrix().n[0], weights.n[0]});
  linear_log_softmax(tape.exec(), {.log_p = log_p.view<2>(),
                                   .x = x.matrix(),
                                   .W = weights,
                                   .b = tape.params().vector(b),
                                   .soft_cap = soft_cap});
  return log_p;
}

}  // namespace unroll
