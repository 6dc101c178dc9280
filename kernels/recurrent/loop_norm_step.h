// The arrays of one step of a recurrent layer with layer normalisation (loop_norm.h), on the types
// of activations and of sums: where in the arrays of the pass step t reads and writes.
#pragma once

#include "kernels/recurrent/recurrent.h"
#include "kernels/recurrent/recurrent_scratch.h"

namespace unroll {

template <class Act, class Acc>
struct NormForwardStep {
  View<Act, 2> h, saved, h_in, Rh_hat, c_hat;  // [B,H] [B,S*H] [B,H] [B,G*H] [B,H]
  View<const Act, 2> h_tm1;                    // [B,H]
  View<Acc, 2> c, fresh, Rh_rstd;              // [B,H] [B,H] [K,B]
  View<const Acc, 2> c_tm1, Wx, Rh;            // [B,H] [B,G*H] [B,G*H]
  Acc* c_rstd;                                 // [B]
  const Acc *b_W, *b_R, *g_R, *g_c, *b_c;      // biases of gates may be null
  View<Acc, 2> new_c, new_o;                   // [B,H]  between two walks over the units
  const int32_t* lengths;
  int t, slot, t_next;
  LoopNoise<Acc> noise;
  Acc eps;
};

template <class Act, class Acc>
struct NormBackwardStep {
  View<Act, 2> dWx, dRh, dN, dn_c;                        // [B,G*H] x 3, [B,H]
  View<Acc, 2> carried_h, carried_c;                      // [B,H]
  View<const Acc, 2> from_R;                              // [B,H]  may be left out
  View<const Act, 2> dh, h, h_tm1, saved, Rh_hat, c_hat;  // as forward has them
  View<const Acc, 2> c_tm1, fresh, Rh_rstd;
  const Acc *c_rstd, *g_R, *g_c, *b_c;
  // Between two walks over the units, g_R and g_c times the gradients of N_t and LN(c_t).
  View<Acc, 2> scaled_N, scaled_n;  // [B,G*H] [B,H]
  const int32_t* lengths;
  int t, slot, t_next;
  bool first;  // nothing is carried yet
  LoopNoise<Acc> noise;
};

// `i` counts the steps in the order in which they run. Rh: [B,G*H], the product of this step.
template <class Act, class Acc>
NormForwardStep<Act, Acc> norm_forward_step(const RecurrentForward& a, const View2& Rh, int64_t i) {
  const int64_t T = a.Wx.n[0], B = a.Wx.n[1], H = a.h.n[2], t = a.reverse ? T - 1 - i : i;
  const int64_t before = a.reverse ? t + 1 : t, after = a.reverse ? t : t + 1;
  const RecurrentScratch scratch = recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, true);
  NormForwardStep<Act, Acc> s{};
  s.h = a.h.at(after).as<Act>();
  s.h_tm1 = a.h.at(before).as<const Act>();
  if (a.saved) s.saved = a.saved.at(t).as<Act>();
  if (a.norm.Rh_hat) s.Rh_hat = a.norm.Rh_hat.at(t).as<Act>();
  if (a.norm.Rh_rstd) s.Rh_rstd = a.norm.Rh_rstd.at(t).as<Acc>();
  if (info_of(a.cell).states == 2) {
    s.c = a.c.at(after).as<Acc>();
    s.c_tm1 = a.c.at(before).as<const Acc>();
    if (a.norm.c_hat) s.c_hat = a.norm.c_hat.at(t).as<Act>();
    if (a.norm.c_rstd) s.c_rstd = a.norm.c_rstd.as<Acc>().row(t);
    s.g_c = static_cast<const Acc*>(a.norm.g_c.data);
    s.b_c = static_cast<const Acc*>(a.norm.b_c.data);
    s.new_c = view_of(scratch.dc, a.Wx.dtype, B, H).as<Acc>();
    s.new_o = view_of(scratch.dh, a.Wx.dtype, B, H).as<Acc>();
  }
  s.Wx = a.Wx.at(t).as<const Acc>();
  s.Rh = Rh.as<const Acc>();
  s.b_W = static_cast<const Acc*>(a.b_W.data);
  s.b_R = static_cast<const Acc*>(a.b_R.data);
  s.g_R = static_cast<const Acc*>(a.norm.g_R.data);
  s.eps = Acc(a.norm.eps);
  s.lengths = static_cast<const int32_t*>(a.lengths.data);
  s.t = int(a.first_step + t);
  s.slot = int(a.first_step + after);
  s.t_next = -1;
  s.noise = loop_noise<Acc>(a.noise, B, H);
  if (i + 1 < T) {
    const int64_t next = a.reverse ? t - 1 : t + 1;
    s.t_next = int(a.first_step + next);
    if (a.noise.masks_h()) {
      const View2 h_in = a.h_in.at(next);
      s.h_in = h_in.as<Act>();
    }
  }
  if (needs_fresh(a.cell, a.noise, true) && a.fresh) s.fresh = a.fresh.at(t).as<Acc>();
  return s;
}

// from_R: [B,H], what came through R from the step after this one where it is still to be masked;
// where it is not given, the carried gradient of h holds it already.
template <class Act, class Acc>
NormBackwardStep<Act, Acc> norm_backward_step(const RecurrentBackward& a, const View2& from_R,
                                              int64_t i) {
  const int64_t T = a.dh.n[0], B = a.dh.n[1], H = a.dh.n[2], t = a.reverse ? i : T - 1 - i;
  const int64_t before = a.reverse ? t + 1 : t, after = a.reverse ? t : t + 1;
  const RecurrentScratch scratch = recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, true);
  const DType acc = accumulate_type(a.h.dtype);
  const auto units = [&](void* part) { return view_of(part, acc, B, H).template as<Acc>(); };
  NormBackwardStep<Act, Acc> s{};
  s.dWx = a.dWx.at(t).as<Act>();
  s.dRh = a.dRh.at(t).as<Act>();
  if (info_of(a.cell).split) s.dN = a.dN.at(t).as<Act>();
  s.carried_h = units(scratch.dh);
  if (from_R) s.from_R = from_R.as<const Acc>();
  s.dh = a.dh.at(t).as<const Act>();
  s.h = a.h.at(after).as<const Act>();
  s.h_tm1 = a.h.at(before).as<const Act>();
  if (a.saved) s.saved = a.saved.at(t).as<const Act>();
  s.Rh_hat = a.norm.Rh_hat.at(t).as<const Act>();
  s.Rh_rstd = a.norm.Rh_rstd.at(t).as<const Acc>();
  s.g_R = static_cast<const Acc*>(a.norm.g_R.data);
  s.scaled_N = view_of(scratch.scaled_N, acc, B, info_of(a.cell).gates * H).as<Acc>();
  if (info_of(a.cell).states == 2) {
    s.dn_c = a.dn_c.at(t).as<Act>();
    s.carried_c = units(scratch.dc);
    s.c_tm1 = a.c.at(before).as<const Acc>();
    s.c_hat = a.norm.c_hat.at(t).as<const Act>();
    s.c_rstd = a.norm.c_rstd.as<const Acc>().row(t);
    s.g_c = static_cast<const Acc*>(a.norm.g_c.data);
    s.b_c = static_cast<const Acc*>(a.norm.b_c.data);
    s.scaled_n = units(scratch.scaled_n);
  }
  s.lengths = static_cast<const int32_t*>(a.lengths.data);
  s.t = int(a.first_step + t);
  s.slot = int(a.first_step + after);
  s.t_next = i == 0 ? -1 : int(a.first_step + (a.reverse ? t - 1 : t + 1));
  s.first = i == 0;
  s.noise = loop_noise<Acc>(a.noise, B, H);
  if (needs_fresh(a.cell, a.noise, true)) s.fresh = a.fresh.at(t).as<const Acc>();
  return s;
}

}  // namespace unroll
