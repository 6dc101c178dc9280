#include "host/ops/recurrent_stack.h"

#include <array>

#include "host/ops/dropout.h"
#include "host/ops/linear.h"
#include "host/ops/weight_drop.h"
#include "kernels/elementwise/add.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/carry_state.h"
#include "kernels/recurrent/recurrent.h"

namespace unroll {
namespace {

// Columns first .. first+count-1 of a matrix.
View2 columns(const View2& m, int64_t first, int64_t count) {
  View2 v = m;
  v.data = static_cast<char*>(m.data) + first * int64_t(size_of(m.dtype));
  v.n[1] = count;
  return v;
}

}  // namespace

Var recurrent_layer(Tape& tape, Cell cell, const RecurrentParams& p, const Var& x,
                    const LayerState& state, const View1& keep, const View1& lengths, bool reverse,
                    double weight_drop, Schedule schedule) {
  const CellInfo& info = info_of(cell);
  const ParamStore& params = tape.params();
  const DroppedWeight dropped = unroll::weight_drop(tape, p.R, weight_drop);
  const View2 R = dropped.R;
  const int64_t T = x.value().extent(0), B = x.value().extent(1), H = R.n[1];
  const int64_t in_slot = reverse ? T : 0, out_slot = reverse ? 0 : T;

  Tensor h = tape.tensor(tape.act(), {T + 1, B, H});
  carry_state(tape.exec(), {.y = h.slice(in_slot, 1).matrix(), .x = state.h, .keep = keep});
  Tensor c;
  if (info.states == 2) {
    c = tape.tensor(tape.acc(), {T + 1, B, H});
    carry_state(tape.exec(), {.y = c.slice(in_slot, 1).matrix(), .x = state.c, .keep = keep});
  }
  Tensor saved;
  if (tape.mode().record && info.saved > 0) saved = tape.tensor(tape.act(), {T, B, info.saved * H});
  const auto view3 = [](const Tensor& t) { return t ? t.view<3>() : View3{}; };
  {
    Tensor Wx = tape.tensor(tape.acc(), {T, B, info.gates * H});
    gemm(tape.exec(), {.C = Wx.matrix(),
                       .A = x.matrix(),
                       .B = params.weight(p.W),
                       .transpose_B = Transpose::yes});
    Tensor holder;
    const Scratch scratch = tape.scratch(
        holder, recurrent_scratch_bytes(tape.exec(), cell, tape.act(), int(T), int(B), int(H)));
    recurrent_forward(tape.exec(), {.cell = cell,
                                    .schedule = schedule,
                                    .reverse = reverse,
                                    .h = h.view<3>(),
                                    .c = view3(c),
                                    .saved = view3(saved),
                                    .Wx = Wx.view<3>(),
                                    .R = R,
                                    .b_W = params.vector(p.b_W),
                                    .b_R = params.vector(p.b_R),
                                    .lengths = lengths,
                                    .scratch = scratch});
  }
  if (!reverse) {
    carry_state(tape.exec(), {.y = state.h, .x = h.slice(out_slot, 1).matrix()});
    if (c) carry_state(tape.exec(), {.y = state.c, .x = c.slice(out_slot, 1).matrix()});
  }

  Var y = tape.var(h.slice(reverse ? 0 : 1, T));
  tape.record("recurrent", [=, x = x.value(), dx = x.slot(), dy = y.slot()](Tape& t) {
    const int64_t GH = info_of(cell).gates * H;
    Tensor dWx = t.tensor(t.act(), {T, B, GH});
    Tensor dRh = info_of(cell).split ? t.tensor(t.act(), {T, B, GH}) : dWx;
    {
      Tensor holder;
      const Scratch scratch = t.scratch(
          holder, recurrent_scratch_bytes(t.exec(), cell, t.act(), int(T), int(B), int(H)));
      recurrent_backward(t.exec(), {.cell = cell,
                                    .schedule = schedule,
                                    .reverse = reverse,
                                    .dWx = dWx.view<3>(),
                                    .dRh = dRh.view<3>(),
                                    .dh = t.gradient(dy).view<3>(),
                                    .h = h.view<3>(),
                                    .c = view3(c),
                                    .saved = view3(saved),
                                    .R = dropped.R,
                                    .lengths = lengths,
                                    .scratch = scratch});
    }
    const GradientSink<1> db_W = t.vector_gradient_sink(p.b_W);
    const GradientSink<1> db_R = t.vector_gradient_sink(p.b_R);
    weight_drop_gradient(t, p.R, dropped, [&](const GradientSink<2>& dR) {
      recurrent_weight_gradients(t.exec(), {.cell = cell,
                                            .reverse = reverse,
                                            .dR = dR.view,
                                            .db_W = db_W.view,
                                            .db_R = db_R.view,
                                            .to_dR = dR.mode,
                                            .to_db_W = db_W.mode,
                                            .to_db_R = db_R.mode,
                                            .dWx = dWx.view<3>(),
                                            .dRh = dRh.view<3>(),
                                            .h = h.view<3>()});
    });
    const GradientSink<2> dW = t.gradient_sink(p.W);
    gemm(t.exec(), {.C = dW.view,
                    .A = dWx.matrix(),
                    .B = x.matrix(),
                    .transpose_A = Transpose::yes,
                    .beta = beta_of(dW.mode)});
    const GradientSink<2> to_x = t.gradient_sink(dx);
    if (to_x.view)
      gemm(t.exec(), {.C = to_x.view,
                      .A = dWx.matrix(),
                      .B = t.params().weight(p.W),
                      .beta = beta_of(to_x.mode)});
  });
  return y;
}

Var bidirectional_layer(Tape& tape, Cell cell, const RecurrentParams& forward,
                        const RecurrentParams& reverse, const Var& x, const LayerState& state,
                        const LayerState& reverse_state, const View1& keep, const View1& lengths) {
  const Var directions[2] = {
      recurrent_layer(tape, cell, forward, x, state, keep, lengths),
      recurrent_layer(tape, cell, reverse, x, reverse_state, keep, lengths, true)};
  const int64_t T = x.value().extent(0), B = x.value().extent(1);
  const int64_t H = directions[0].value().extent(2);
  Var y = tape.var(tape.tensor(tape.act(), {T, B, 2 * H}));
  for (int d = 0; d < 2; ++d)
    add_scaled(tape.exec(), {.y = columns(y.matrix(), d * H, H), .x = directions[d].matrix()});
  tape.record(
      "join_directions",
      [H, dy = y.slot(), slots = std::array{directions[0].slot(), directions[1].slot()}](Tape& t) {
        int64_t first = 0;
        for (const auto& slot : slots) {
          const GradientSink<2> sink = t.gradient_sink(slot);
          add_scaled(
              t.exec(),
              {.y = sink.view, .x = columns(t.gradient(dy).matrix(), first, H), .to_y = sink.mode});
          first += H;
        }
      });
  return y;
}

Var recurrent_stack(Tape& tape, const RecurrentStack& stack, const Var& x, const State& state,
                    const View1& keep, const View1& lengths) {
  Var y = x;
  for (size_t l = 0; l < stack.layers.size(); ++l) {
    const Var in =
        dropout(tape, y, l == 0 ? stack.dropout_input : stack.dropout_hidden, stack.locked);
    y = recurrent_layer(tape, stack.cell, stack.layers[l], in, state[l], keep, lengths, false,
                        stack.weight_drop, stack.schedule);
    if (stack.residual && y.value().extent(2) == in.value().extent(2)) y = add(tape, y, in);
  }
  return y;
}

}  // namespace unroll
