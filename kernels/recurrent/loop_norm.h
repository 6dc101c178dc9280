// Layer normalisation of a recurrent layer, as far as it lies inside the loop.
//
//   LN(z; g, b) = g (z - mean(z)) / sqrt(var(z) + eps) + b      over the units of one lane and step
//
//   a_t = LN(W x_t; g_W, b_W)      outside the loop: normalize/layer_norm.h makes Wx, b_W joins here
//   N_t = LN(R h_tm1; g_R, b_R)
//   tanh, relu   h_t = f(a_t + N_t)
//   LSTM         c_t = sigmoid(f) c_tm1 + sigmoid(i) tanh(g),   i f g o = a_t + N_t
//                h_t = sigmoid(o) tanh(LN(c_t; g_c, b_c))       what is carried on is c_t
//   GRU          r, z = sigmoid(a_t + N_t),   n = tanh(a_n + r N_n),   h_t = (1 - z) n + z h_tm1
//
// Ba, Kiros & Hinton 2016 (arXiv:1607.06450): LN is equation 4; the LSTM and the GRU are those of
// the supplementary material, with variances that are means of squares over all units, and eps as in
// the authors' program. One LN spans all four gates of an LSTM. Of a GRU one spans r and z, and n
// has its own, since its product is gated before anything is added to it: a cell that is split has
// K = 2 groups of gates, any other K = 1. tanh and relu are treated like the gates, with one LN for
// each product where equation 4 has one for their sum. The further bias that the paper adds to the
// sum of both is one too many, and is left out.
//
// A lane that starts from zero has R h = 0: then N_t = b_R. In resets, zoneout and recurrent dropout
// (loop_noise.h) nothing changes: LN is of R (m_t h_tm1), and zoneout keeps c and h, not LN(c).
#pragma once

#include "kernels/base/view.h"
#include "kernels/cells/cells.h"

namespace unroll {

struct LoopNorm {
  View1 g_R{};         // [G*H]      acc; without it nothing is normalised
  View1 g_c{}, b_c{};  // [H]        acc; only cells with two states, as c_hat and c_rstd
  // Out of forward, in to backward; not given in evaluation. _hat: before gain and bias; _rstd:
  // 1 / sqrt(var + eps).
  View3 Rh_hat{};   // [T,B,G*H]  act
  View3 Rh_rstd{};  // [T,K,B]    acc
  View3 c_hat{};    // [T,B,H]    act
  View2 c_rstd{};   // [T,B]      acc
  double eps = 1e-5;

  explicit operator bool() const { return bool(g_R); }
};

// K above, and the gates that group k has to itself: first .. first+count-1.
inline int norm_groups(Cell cell) { return info_of(cell).split ? 2 : 1; }
struct GateRange {
  int first, count;
};
inline GateRange norm_group(Cell cell, int k) {
  const int gates = info_of(cell).gates;
  if (norm_groups(cell) == 1) return {0, gates};
  return k == 0 ? GateRange{0, gates - 1} : GateRange{gates - 1, 1};
}

}  // namespace unroll
