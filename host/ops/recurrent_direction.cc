#include "host/ops/recurrent_direction.h"

#include "host/ops/linear.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/carry_state.h"

namespace unroll {
namespace {

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

Scratch scratch_of(const Tape& tape, const LayerRun& l, const DirectionRun& d, Tensor& holder,
                   int64_t steps) {
  return tape.scratch(holder, recurrent_scratch_bytes(tape.exec(), l.cell, tape.act(), int(steps),
                                                      int(l.B), int(l.H), d.p.normalised()));
}

}  // namespace

LayerRun::LayerRun(const Tape& tape, Cell cell, const RecurrentParams& p, const Var& x,
                   const View1& lengths, const LayerOptions& options)
    : cell(cell),
      lengths(lengths),
      x(x.value()),
      dx(x.slot()),
      T(x.value().extent(0)),
      B(x.value().extent(1)),
      H(tape.params().weight(p.R).n[1]),
      schedule(
          choose_schedule(tape.exec(), options.schedule, cell, tape.act(), T, B, H, p.normalised())
              .schedule) {}

DirectionRun begin_direction(Tape& tape, const LayerRun& l, const RecurrentParams& p,
                             const LayerState& state, const View1& keep, bool reverse,
                             const LayerOptions& options) {
  const CellInfo& info = info_of(l.cell);
  DirectionRun d;
  d.p = p;
  d.reverse = reverse;
  d.dropped = weight_drop(tape, p.R, options.weight_drop, takes_mask(l.schedule));
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
  if (record && needs_fresh(l.cell, d.noise, p.normalised()))
    d.fresh = tape.tensor(tape.acc(), {l.T, l.B, l.H});
  if (record && p.normalised()) d.norm = begin_norm(tape, l);
  return d;
}

RecurrentForward forward_args(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                              PassMemory& memory, int64_t steps) {
  const ParamStore& params = tape.params();
  memory.Wx = tape.tensor(tape.acc(), {l.T, l.B, l.GH()});
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
          .mask = d.dropped.mask(),
          .noise = d.noise,
          .norm = d.p.normalised() ? loop_norm(tape, d) : LoopNorm{},
          .scratch = scratch_of(tape, l, d, memory.holder, steps)};
}

RecurrentBackward backward_args(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                                PassMemory& memory, int64_t steps) {
  memory.dWx = tape.tensor(tape.act(), {l.T, l.B, l.GH()});
  const CellInfo& info = info_of(l.cell);
  const auto own = [&](bool needed) {
    return needed ? tape.tensor(tape.act(), {l.T, l.B, l.GH()}) : memory.dWx;
  };
  const bool normalised = d.p.normalised();
  memory.dRh = own(info.split || normalised);
  if (normalised) memory.dN = own(info.split);
  if (normalised && info.states == 2) memory.dn_c = tape.tensor(tape.act(), {l.T, l.B, l.H});
  return {.cell = l.cell,
          .schedule = l.schedule,
          .reverse = d.reverse,
          .dWx = memory.dWx.view<3>(),
          .dRh = memory.dRh.view<3>(),
          .dN = view3(memory.dN),
          .dn_c = view3(memory.dn_c),
          .dh = tape.gradient(d.dy).view<3>(),
          .h = d.h.view<3>(),
          .c = view3(d.c),
          .saved = view3(d.saved),
          .fresh = view3(d.fresh),
          .R = d.dropped.R,
          .lengths = l.lengths,
          .mask = d.dropped.mask(),
          .noise = d.noise,
          .norm = d.p.normalised() ? loop_norm(tape, d) : LoopNorm{},
          .scratch = scratch_of(tape, l, d, memory.holder, steps)};
}

void project_input(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                   const PassMemory& memory, int64_t first, int64_t count) {
  gemm(tape.exec(), {.C = memory.Wx.slice(first, count).matrix(),
                     .A = l.x.slice(first, count).matrix(),
                     .B = tape.params().weight(d.p.W),
                     .transpose_B = Transpose::yes});
}

void add_input_gradient(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                        const PassMemory& memory, const GradientSink<2>& dx, int64_t first,
                        int64_t count) {
  if (!dx.view) return;
  gemm(tape.exec(), {.C = dx.view.slice(first * l.B, count * l.B),
                     .A = memory.dWx.slice(first, count).matrix(),
                     .B = tape.params().weight(d.p.W),
                     .beta = beta_of(dx.mode)});
}

void add_weight_gradients(Tape& tape, const LayerRun& l, const DirectionRun& d,
                          const PassMemory& memory) {
  // What is read and no more, since it is kept until the branches are joined.
  tape.aside([cell = l.cell, x = l.x, p = d.p, reverse = d.reverse, drop = d.dropped.without_copy(),
              h = d.h, h_in = d.h_in, dWx = memory.dWx, dRh = memory.dRh](Tape& t) {
    // Those of a normalised layer were taken before dWx, which dN may be, changed:
    // add_norm_gradients.
    const GradientSink<1> db_W = t.vector_gradient_sink(p.normalised() ? Param{} : p.b_W);
    const GradientSink<1> db_R = t.vector_gradient_sink(p.normalised() ? Param{} : p.b_R);
    weight_drop_gradient(t, p.R, drop, [&](const GradientSink<2>& dR) {
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
                                            .h = h.view<3>(),
                                            .h_in = view3(h_in)});
    });
    add_linear_gradients(t, dWx.matrix(), x.matrix(), p.W);
  });
}

void carry_on(const Tape& tape, const LayerRun& l, const DirectionRun& d, const LayerState& state) {
  carry_state(tape.exec(), {.y = state.h, .x = d.h.slice(l.T, 1).matrix()});
  if (d.c) carry_state(tape.exec(), {.y = state.c, .x = d.c.slice(l.T, 1).matrix()});
}

}  // namespace unroll
