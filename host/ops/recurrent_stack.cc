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

StateNoise noise_of(Tape& tape, const LayerOptions& options) {
  StateNoise noise;
  noise.zoneout_h = options.zoneout_h;
  noise.zoneout_c = options.zoneout_c;
  noise.dropout = options.dropout_recurrent;
  noise.locked = options.locked;
  noise.mean = !tape.mode().noise;
  if (noise.draws()) noise.key = tape.next_mask_key();
  return noise;
}

View3 view3(const Tensor& t) { return t ? t.view<3>() : View3{}; }

// What the directions of a layer share.
struct Layer {
  Cell cell;
  Schedule schedule;
  View1 lengths;
  Tensor x;
  std::shared_ptr<Var::Slot> dx;
  int64_t T, B, H;

  Layer(const Tape& tape, Cell cell, const RecurrentParams& p, const Var& x, const View1& lengths,
        const LayerOptions& options)
      : cell(cell),
        schedule(options.schedule),
        lengths(lengths),
        x(x.value()),
        dx(x.slot()),
        T(x.value().extent(0)),
        B(x.value().extent(1)),
        H(tape.params().weight(p.R).n[1]) {}
  int64_t GH() const { return info_of(cell).gates * H; }
  Scratch scratch(const Tape& tape, Tensor& holder) const {
    return tape.scratch(
        holder, recurrent_scratch_bytes(tape.exec(), cell, tape.act(), int(T), int(B), int(H)));
  }
};

// One direction, with what its backward pass needs of its forward pass.
struct Direction {
  RecurrentParams p;
  bool reverse;
  DroppedWeight dropped;
  StateNoise noise;
  Tensor h, c, saved, h_in, fresh;
  std::shared_ptr<Var::Slot> dy;
};

// The arrays of one direction, its carried-in state in place.
Direction begin(Tape& tape, const Layer& l, const RecurrentParams& p, const LayerState& state,
                const View1& keep, bool reverse, const LayerOptions& options) {
  const CellInfo& info = info_of(l.cell);
  Direction d;
  d.p = p;
  d.reverse = reverse;
  d.dropped = weight_drop(tape, p.R, options.weight_drop);
  d.noise = noise_of(tape, options);
  const int64_t slot = reverse ? l.T : 0;
  d.h = tape.tensor(tape.act(), {l.T + 1, l.B, l.H});
  carry_state(tape.exec(), {.y = d.h.slice(slot, 1).matrix(), .x = state.h, .keep = keep});
  if (info.states == 2) {
    d.c = tape.tensor(tape.acc(), {l.T + 1, l.B, l.H});
    carry_state(tape.exec(), {.y = d.c.slice(slot, 1).matrix(), .x = state.c, .keep = keep});
  }
  const bool record = tape.mode().record;
  if (record && info.saved > 0) d.saved = tape.tensor(tape.act(), {l.T, l.B, info.saved * l.H});
  if (d.noise.masks_h()) d.h_in = tape.tensor(tape.act(), {l.T, l.B, l.H});
  if (record && needs_fresh(l.cell, d.noise)) d.fresh = tape.tensor(tape.acc(), {l.T, l.B, l.H});
  return d;
}

// Memory of one direction while a pass runs.
struct PassMemory {
  Tensor Wx, dWx, dRh, holder;
};

RecurrentForward forward_args(const Tape& tape, const Layer& l, const Direction& d,
                              PassMemory& memory) {
  const ParamStore& params = tape.params();
  memory.Wx = tape.tensor(tape.acc(), {l.T, l.B, l.GH()});
  gemm(tape.exec(), {.C = memory.Wx.matrix(),
                     .A = l.x.matrix(),
                     .B = params.weight(d.p.W),
                     .transpose_B = Transpose::yes});
  return {.cell = l.cell,
          .schedule = l.schedule,
          .reverse = d.reverse,
          .h = d.h.view<3>(),
          .c = view3(d.c),
          .saved = view3(d.saved),
          .h_in = view3(d.h_in),
          .fresh = view3(d.fresh),
          .Wx = memory.Wx.view<3>(),
          .R = d.dropped.R,
          .b_W = params.vector(d.p.b_W),
          .b_R = params.vector(d.p.b_R),
          .lengths = l.lengths,
          .noise = d.noise,
          .scratch = l.scratch(tape, memory.holder)};
}

RecurrentBackward backward_args(const Tape& tape, const Layer& l, const Direction& d,
                                PassMemory& memory) {
  memory.dWx = tape.tensor(tape.act(), {l.T, l.B, l.GH()});
  memory.dRh = info_of(l.cell).split ? tape.tensor(tape.act(), {l.T, l.B, l.GH()}) : memory.dWx;
  return {.cell = l.cell,
          .schedule = l.schedule,
          .reverse = d.reverse,
          .dWx = memory.dWx.view<3>(),
          .dRh = memory.dRh.view<3>(),
          .dh = tape.gradient(d.dy).view<3>(),
          .h = d.h.view<3>(),
          .c = view3(d.c),
          .saved = view3(d.saved),
          .fresh = view3(d.fresh),
          .R = d.dropped.R,
          .lengths = l.lengths,
          .noise = d.noise,
          .scratch = l.scratch(tape, memory.holder)};
}

// Of the weights and of x, from those of the pre-activations.
void add_gradients(Tape& t, const Layer& l, const Direction& d, const PassMemory& memory) {
  const GradientSink<1> db_W = t.vector_gradient_sink(d.p.b_W);
  const GradientSink<1> db_R = t.vector_gradient_sink(d.p.b_R);
  weight_drop_gradient(t, d.p.R, d.dropped, [&](const GradientSink<2>& dR) {
    recurrent_weight_gradients(t.exec(), {.cell = l.cell,
                                          .reverse = d.reverse,
                                          .dR = dR.view,
                                          .db_W = db_W.view,
                                          .db_R = db_R.view,
                                          .to_dR = dR.mode,
                                          .to_db_W = db_W.mode,
                                          .to_db_R = db_R.mode,
                                          .dWx = memory.dWx.view<3>(),
                                          .dRh = memory.dRh.view<3>(),
                                          .h = d.h.view<3>(),
                                          .h_in = view3(d.h_in)});
  });
  const GradientSink<2> dW = t.gradient_sink(d.p.W);
  gemm(t.exec(), {.C = dW.view,
                  .A = memory.dWx.matrix(),
                  .B = l.x.matrix(),
                  .transpose_A = Transpose::yes,
                  .beta = beta_of(dW.mode)});
  const GradientSink<2> to_x = t.gradient_sink(l.dx);
  if (to_x.view)
    gemm(t.exec(), {.C = to_x.view,
                    .A = memory.dWx.matrix(),
                    .B = t.params().weight(d.p.W),
                    .beta = beta_of(to_x.mode)});
}

// What a direction forward in time leaves to the next chunk.
void carry_on(const Tape& tape, const Layer& l, const Direction& d, const LayerState& state) {
  carry_state(tape.exec(), {.y = state.h, .x = d.h.slice(l.T, 1).matrix()});
  if (d.c) carry_state(tape.exec(), {.y = state.c, .x = d.c.slice(l.T, 1).matrix()});
}

// One direction, or two at once; their outputs.
std::vector<Var> run(Tape& tape, const Layer& l, std::vector<Direction> all) {
  const bool pair = all.size() == 2;
  {
    PassMemory memory[2];
    const RecurrentForward first = forward_args(tape, l, all[0], memory[0]);
    if (pair)
      recurrent_forward_pair(tape.exec(), first, forward_args(tape, l, all[1], memory[1]));
    else
      recurrent_forward(tape.exec(), first);
  }
  std::vector<Var> outputs;
  for (Direction& d : all) {
    outputs.push_back(tape.var(d.h.slice(d.reverse ? 0 : 1, l.T)));
    d.dy = outputs.back().slot();
  }
  tape.record("recurrent", [=](Tape& t) {
    PassMemory memory[2];
    const RecurrentBackward first = backward_args(t, l, all[0], memory[0]);
    if (pair)
      recurrent_backward_pair(t.exec(), first, backward_args(t, l, all[1], memory[1]));
    else
      recurrent_backward(t.exec(), first);
    for (PassMemory& m : memory) m.holder = Tensor();
    for (size_t i = 0; i < all.size(); ++i) add_gradients(t, l, all[i], memory[i]);
  });
  return outputs;
}

}  // namespace

Var recurrent_layer(Tape& tape, Cell cell, const RecurrentParams& p, const Var& x,
                    const LayerState& state, const View1& keep, const View1& lengths, bool reverse,
                    const LayerOptions& options) {
  const Layer l(tape, cell, p, x, lengths, options);
  const Direction d = begin(tape, l, p, state, keep, reverse, options);
  const Var y = run(tape, l, {d})[0];
  if (!reverse) carry_on(tape, l, d, state);
  return y;
}

Var bidirectional_layer(Tape& tape, Cell cell, const RecurrentParams& forward,
                        const RecurrentParams& reverse, const Var& x, const LayerState& state,
                        const LayerState& reverse_state, const View1& keep, const View1& lengths,
                        const LayerOptions& options) {
  const Layer l(tape, cell, forward, x, lengths, options);
  const std::vector<Direction> both = {begin(tape, l, forward, state, keep, false, options),
                                       begin(tape, l, reverse, reverse_state, keep, true, options)};
  const std::vector<Var> directions = run(tape, l, both);
  carry_on(tape, l, both[0], state);
  const int64_t H = l.H;
  Var y = tape.var(tape.tensor(tape.act(), {l.T, l.B, 2 * H}));
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
        dropout(tape, y, l == 0 ? stack.dropout_input : stack.dropout_hidden, stack.layer.locked);
    y = recurrent_layer(tape, stack.cell, stack.layers[l], in, state[l], keep, lengths, false,
                        stack.layer);
    if (stack.residual && y.value().extent(2) == in.value().extent(2)) y = add(tape, y, in);
  }
  return y;
}

}  // namespace unroll
