#include "host/ops/linear.h"

#include "kernels/elementwise/add.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"

namespace unroll {

void add_linear_gradients(Tape& tape, const View2& dy, const View2& x, Param W, Param b) {
  const GradientSink<2> dW = tape.gradient_sink(W);
  gemm(tape.exec(),
       {.C = dW.view, .A = dy, .B = x, .transpose_A = Transpose::yes, .beta = beta_of(dW.mode)});
  if (!b) return;
  const GradientSink<1> db = tape.vector_gradient_sink(b);
  column_sum(tape.exec(), {.sum = db.view, .x = dy, .to_sum = db.mode});
}

Var linear(Tape& tape, const Var& x, Param W, Param b) {
  const View2 weight = tape.params().weight(W);
  Var y =
      tape.var(tape.tensor(tape.act(), {x.value().extent(0), x.value().extent(1), weight.n[0]}));
  gemm(tape.exec(), {.C = y.matrix(), .A = x.matrix(), .B = weight, .transpose_B = Transpose::yes});
  if (b)
    bias_act_forward(tape.exec(), {.y = y.matrix(), .x = y.matrix(), .b = tape.params().vector(b)});
  tape.record("linear", [x = x.value(), dx = x.slot(), dy = y.slot(), W, b](Tape& t) {
    const Tensor dy_rows = t.gradient(dy);
    const GradientSink<2> to_x = t.gradient_sink(dx);
    if (to_x.view)
      gemm(t.exec(), {.C = to_x.view,
                      .A = dy_rows.matrix(),
                      .B = t.params().weight(W),
                      .beta = beta_of(to_x.mode)});
    t.aside([x, dy_rows, W, b](Tape& t) {
      add_linear_gradients(t, dy_rows.matrix(), x.matrix(), W, b);
    });
  });
  return y;
}

Var add(Tape& tape, const Var& a, const Var& b) {
  Var y = tape.var(a.value().like(tape.arena()));
  add_scaled(tape.exec(), {.y = y.matrix(), .x = a.matrix()});
  add_scaled(tape.exec(), {.y = y.matrix(), .x = b.matrix(), .to_y = Accumulate::add});
  tape.record("add", [da = a.slot(), db = b.slot(), dy = y.slot()](Tape& t) {
    for (const auto& slot : {da, db}) {
      const GradientSink<2> sink = t.gradient_sink(slot);
      if (sink.view)
        add_scaled(t.exec(), {.y = sink.view, .x = t.gradient(dy).matrix(), .to_y = sink.mode});
    }
  });
  return y;
}

}  // namespace unroll
