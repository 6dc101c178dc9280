// Layer normalisation of a recurrent layer on the tape: what lies outside the loop, LN(W x), and the
// gradients of all gains.
#include "host/ops/recurrent_direction.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/normalize/layer_norm.h"

namespace unroll {
namespace {

// Calls body(k, first, count) for the rows of W of every group of gates that is normalised together.
template <class Body>
void for_groups(const LayerRun& l, const Body& body) {
  for (int k = 0; k < norm_groups(l.cell); ++k) {
    const GateRange gates = norm_group(l.cell, k);
    body(k, gates.first * l.H, gates.count * l.H);
  }
}

}  // namespace

NormRun begin_norm(const Tape& tape, const LayerRun& l) {
  const int64_t T = l.T, B = l.B, H = l.H, K = norm_groups(l.cell);
  NormRun n;
  n.Wx_hat = tape.tensor(tape.act(), {T, B, l.GH()});
  n.Wx_rstd = tape.tensor(tape.acc(), {K, T * B});
  n.Rh_hat = tape.tensor(tape.act(), {T, B, l.GH()});
  n.Rh_rstd = tape.tensor(tape.acc(), {T, K, B});
  if (info_of(l.cell).states == 2) {
    n.c_hat = tape.tensor(tape.act(), {T, B, H});
    n.c_rstd = tape.tensor(tape.acc(), {T, B});
  }
  return n;
}

LoopNorm loop_norm(const Tape& tape, const DirectionRun& d) {
  const ParamStore& params = tape.params();
  return {.g_R = params.vector(d.p.g_R),
          .g_c = params.vector(d.p.g_c),
          .b_c = params.vector(d.p.b_c),
          .Rh_hat = view3(d.norm.Rh_hat),
          .Rh_rstd = view3(d.norm.Rh_rstd),
          .c_hat = view3(d.norm.c_hat),
          .c_rstd = d.norm.c_rstd ? d.norm.c_rstd.view<2>() : View2{}};
}

void normalise_input(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                     const PassMemory& memory) {
  const View1 gain = tape.params().vector(d.p.g_W);
  for_groups(l, [&](int k, int64_t first, int64_t count) {
    LayerNorm a;
    a.y = a.x = columns(memory.Wx.matrix(), first, count);
    a.g = gain.slice(first, count);
    if (d.norm.Wx_hat) {
      a.x_hat = columns(d.norm.Wx_hat.matrix(), first, count);
      a.rstd = d.norm.Wx_rstd.view<2>().at(k);
    }
    layer_norm_forward(tape.exec(), a);
  });
}

void add_norm_gradients(Tape& t, const LayerRun& l, const DirectionRun& d,
                        const PassMemory& memory) {
  const auto add_gain = [&](Param gain, const Tensor& dy, const Tensor& hat) {
    const GradientSink<1> dg = t.vector_gradient_sink(gain);
    layer_norm_gain_gradient(
        t.exec(), {.dg = dg.view, .dy = dy.matrix(), .x_hat = hat.matrix(), .to_dg = dg.mode});
  };
  const auto add_bias = [&](Param bias, const Tensor& dy) {
    const GradientSink<1> db = t.vector_gradient_sink(bias);
    if (db.view) column_sum(t.exec(), {.sum = db.view, .x = dy.matrix(), .to_sum = db.mode});
  };
  add_gain(d.p.g_R, memory.dN, d.norm.Rh_hat);
  if (memory.dn_c) {
    add_gain(d.p.g_c, memory.dn_c, d.norm.c_hat);
    add_bias(d.p.b_c, memory.dn_c);
  }
  add_gain(d.p.g_W, memory.dWx, d.norm.Wx_hat);
  add_bias(d.p.b_W, memory.dWx);
  add_bias(d.p.b_R, memory.dN);
  const View1 gain = t.params().vector(d.p.g_W);
  for_groups(l, [&](int k, int64_t first, int64_t count) {
    const View2 dWx = columns(memory.dWx.matrix(), first, count);
    layer_norm_backward(t.exec(), {.dx = dWx,
                                   .dy = dWx,
                                   .x_hat = columns(d.norm.Wx_hat.matrix(), first, count),
                                   .rstd = d.norm.Wx_rstd.view<2>().at(k),
                                   .g = gain.slice(first, count)});
  });
}

}  // namespace unroll
