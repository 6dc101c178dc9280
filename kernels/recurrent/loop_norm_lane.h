// One lane of one step of a recurrent layer with layer normalisation (loop_norm.h), for the bodies
// of both devices: everything but the product. In a .cu file gpu.h comes before this header.
//
// A Team walks over the units of the lane; its threads meet in sum() only, and what one of them
// writes for a unit no other one reads:
//
//   using Sum;               number type of sums
//   bool leads();            whether this thread writes what there is once per lane
//   each(n, f);              f(u) for u = 0..n-1
//   sum<N>(n, f) -> Sums     the sum of f(u), the same to every thread, in a fixed order
//   hand_on(b, k, v)         v is entry k of lane b of what the next product multiplies; once for
//                            each entry, for a product that does not read the arrays of the pass
//
// Means and variances are taken in two passes over the row.
//
//   backward of y = g x_hat + b:   dx = rstd (g dy - mean(g dy) - x_hat mean(g dy x_hat))
#pragma once

#include <cmath>

#include "kernels/base/math.h"
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/loop_norm_step.h"

#if defined(GPU_DEVICE)
#define UNROLL_LANE GPU_DEVICE
#else
#define UNROLL_LANE inline
#endif

namespace unroll {

template <class S, int N>
struct Sums {
  S v[N] = {};
};

// Gates of the first group, the groups, and the group of gate k.
template <class C>
inline constexpr int kFirstGroup = C::split ? C::gates - 1 : C::gates;
template <class C>
inline constexpr int kGroups = C::split ? 2 : 1;
template <class C>
UNROLL_LANE constexpr int group_of(int k) {
  return k < kFirstGroup<C> ? 0 : 1;
}
template <class C>
UNROLL_LANE constexpr int gates_in(int group) {
  return group == 0 ? kFirstGroup<C> : C::gates - kFirstGroup<C>;
}
// Numbers per unit in `saved`: the cell's own, or of a cell with c the pre-activations.
template <class C>
inline constexpr int kNormSaved = C::states == 2 ? C::gates : C::saved;
static_assert(kNormSaved<Lstm> <= Lstm::saved);
template <class C>
inline constexpr int kNormSavedArray = kNormSaved<C> > 0 ? kNormSaved<C> : 1;

// The cell with two states, cut in two where c_t is normalised: an LSTM.
template <class T>
struct NormedLstm {
  static constexpr int kI = 0, kF = 1, kG = 2, kO = 3;
  static UNROLL_LANE T next_c(const T* pre, T c_tm1) {
    return sigmoid(pre[kF]) * c_tm1 + sigmoid(pre[kI]) * tanh_of(pre[kG]);
  }
  // Gradients of n = LN(c_t) and of o from that of h_t = sigmoid(o) tanh(n).
  static UNROLL_LANE T backward_h(T pre_o, T n, T dh, T& d_pre_o) {
    const T o = sigmoid(pre_o), tanh_n = tanh_of(n);
    d_pre_o = dh * tanh_n * sigmoid_slope(o);
    return dh * o * tanh_slope(tanh_n);
  }
  // Gradients of i f g and of c_tm1 from that of c_t.
  static UNROLL_LANE T backward_c(const T* pre, T c_tm1, T dc, T* d_pre) {
    const T i = sigmoid(pre[kI]), f = sigmoid(pre[kF]), g = tanh_of(pre[kG]);
    d_pre[kI] = dc * g * sigmoid_slope(i);
    d_pre[kF] = dc * c_tm1 * sigmoid_slope(f);
    d_pre[kG] = dc * i * tanh_slope(g);
    return dc * f;
  }
};

// Writes h_t and what the next step's product reads; h is that before its zoneout.
template <class Team, class Act, class Acc>
UNROLL_LANE void finish_h(const Team& team, const NormForwardStep<Act, Acc>& a, int64_t b,
                          int64_t u, uint32_t draw, Acc h_tm1, Acc h, bool valid) {
  if (a.noise.any && valid) h = zoned(a.noise.kept_h(draw), h_tm1, h);
  const Act rounded = Act(h);
  a.h(b, u) = rounded;
  const Act handed = a.noise.any ? Act(a.noise.handed_on(draw, Acc(rounded))) : rounded;
  if (a.h_in) a.h_in(b, u) = handed;
  team.hand_on(b, u, handed);
}

// A lane beyond its length: the state is copied, and nothing was normalised.
template <class C, class Team, class Act, class Acc>
UNROLL_LANE void pass_through(const Team& team, const NormForwardStep<Act, Acc>& a, int64_t b) {
  const int64_t H = a.h.n[1];
  team.each(H, [&](int64_t u) {
    const uint32_t draw = a.noise.any ? a.noise.draw(a.slot, b, u, a.t_next) : 0u;
    finish_h(team, a, b, u, draw, Acc(0), Acc(a.h_tm1(b, u)), false);
    if constexpr (C::states == 2) a.c(b, u) = a.c_tm1(b, u);
    if (a.Rh_hat)
      for (int k = 0; k < C::gates; ++k) a.Rh_hat(b, k * H + u) = Act(Acc(0));
    if (a.c_hat) a.c_hat(b, u) = Act(Acc(0));
  });
  if (!team.leads()) return;
  if (a.Rh_rstd)
    for (int p = 0; p < kGroups<C>; ++p) a.Rh_rstd(p, b) = 0;
  if (a.c_rstd) a.c_rstd[b] = 0;
}

template <class C, class Team, class Act, class Acc>
UNROLL_LANE void forward_lane(const Team& team, const NormForwardStep<Act, Acc>& a, int64_t b) {
  using S = typename Team::Sum;
  using std::sqrt;
  constexpr int kParts = kGroups<C>;
  if (a.lengths && a.t >= a.lengths[b]) return pass_through<C>(team, a, b);
  const int64_t H = a.h.n[1];
  const bool starts = a.noise.any && a.noise.starts(a.t, b);
  const Acc* const Rh = a.Rh.row(b);

  const Sums<S, kParts> total = team.template sum<kParts>(H, [&](int64_t u) {
    Sums<S, kParts> s;
    for (int k = 0; k < C::gates; ++k) s.v[group_of<C>(k)] += S(Rh[k * H + u]);
    return s;
  });
  Acc mean[kParts], rstd[kParts];
  for (int p = 0; p < kParts; ++p) mean[p] = Acc(total.v[p] / S(gates_in<C>(p) * H));
  const Sums<S, kParts> squares = team.template sum<kParts>(H, [&](int64_t u) {
    Sums<S, kParts> s;
    for (int k = 0; k < C::gates; ++k) {
      const S d = S(Rh[k * H + u] - mean[group_of<C>(k)]);
      s.v[group_of<C>(k)] += d * d;
    }
    return s;
  });
  for (int p = 0; p < kParts; ++p)
    rstd[p] = Acc(1) / sqrt(Acc(squares.v[p] / S(gates_in<C>(p) * H)) + a.eps);
  if (a.Rh_rstd && team.leads())
    for (int p = 0; p < kParts; ++p) a.Rh_rstd(p, b) = rstd[p];

  // Both inputs of the cell.
  const auto load = [&](int64_t u, Acc* Wx, Acc* N) {
    for (int k = 0; k < C::gates; ++k) {
      const int64_t row = k * H + u;
      const Acc hat = (Rh[row] - mean[group_of<C>(k)]) * rstd[group_of<C>(k)];
      if (a.Rh_hat) a.Rh_hat(b, row) = Act(hat);
      Wx[k] = a.Wx(b, row) + (a.b_W ? a.b_W[row] : Acc(0));
      N[k] = a.g_R[row] * hat + (a.b_R ? a.b_R[row] : Acc(0));
    }
  };
  const auto draw_of = [&](int64_t u) {
    return a.noise.any ? a.noise.draw(a.slot, b, u, a.t_next) : 0u;
  };
  if constexpr (C::states == 1) {
    team.each(H, [&](int64_t u) {
      Acc Wx[C::gates], N[C::gates], s[2] = {}, saved[kNormSavedArray<C>] = {};
      load(u, Wx, N);
      const Acc s_tm1[2] = {starts ? Acc(0) : Acc(a.h_tm1(b, u)), Acc(0)};
      C::template forward<Acc>(Wx, N, s_tm1, s, saved);
      if constexpr (C::saved > 0) {
        if (a.saved)
          for (int k = 0; k < C::saved; ++k) a.saved(b, k * H + u) = Act(saved[k]);
      }
      if (a.fresh) a.fresh(b, u) = s[0];
      finish_h(team, a, b, u, draw_of(u), s_tm1[0], s[0], true);
    });
  } else {
    using Cut = NormedLstm<Acc>;
    const Sums<S, 1> sum_c = team.template sum<1>(H, [&](int64_t u) {
      Acc pre[C::gates], N[C::gates];
      load(u, pre, N);
      for (int k = 0; k < C::gates; ++k) pre[k] += N[k];
      if (a.saved)
        for (int k = 0; k < C::gates; ++k) a.saved(b, k * H + u) = Act(pre[k]);
      const Acc c = Cut::next_c(pre, starts ? Acc(0) : a.c_tm1(b, u));
      a.new_c(b, u) = c;
      a.new_o(b, u) = sigmoid(pre[Cut::kO]);
      return Sums<S, 1>{{S(c)}};
    });
    const Acc mean_c = Acc(sum_c.v[0] / S(H));
    const Sums<S, 1> square_c = team.template sum<1>(H, [&](int64_t u) {
      const S d = S(a.new_c(b, u) - mean_c);
      return Sums<S, 1>{{d * d}};
    });
    const Acc rstd_c = Acc(1) / sqrt(Acc(square_c.v[0] / S(H)) + a.eps);
    if (a.c_rstd && team.leads()) a.c_rstd[b] = rstd_c;
    team.each(H, [&](int64_t u) {
      const Acc c = a.new_c(b, u), hat = (c - mean_c) * rstd_c;
      if (a.c_hat) a.c_hat(b, u) = Act(hat);
      const uint32_t draw = draw_of(u);
      const Acc c_tm1 = starts ? Acc(0) : a.c_tm1(b, u);
      a.c(b, u) = a.noise.any ? zoned(a.noise.kept_c(draw), c_tm1, c) : c;
      finish_h(team, a, b, u, draw, starts ? Acc(0) : Acc(a.h_tm1(b, u)),
               a.new_o(b, u) * tanh_of(a.g_c[u] * hat + a.b_c[u]), true);
    });
  }
}

template <class C, class Team, class Act, class Acc>
UNROLL_LANE void backward_lane(const Team& team, const NormBackwardStep<Act, Acc>& a, int64_t b) {
  using S = typename Team::Sum;
  constexpr int kParts = kGroups<C>, kSums = 2 * kParts;
  const int64_t H = a.dh.n[1];
  const auto draw_of = [&](int64_t u) {
    return a.noise.any ? a.noise.draw(a.slot, b, u, a.t_next) : 0u;
  };
  // Of h_t and of c_t, as the steps after this one have it.
  const auto flow_h = [&](int64_t u, uint32_t draw) {
    Acc d = Acc(a.dh(b, u)) + (a.first ? Acc(0) : a.carried_h(b, u));
    if (a.from_R && !a.first) d += a.noise.handed_on(draw, a.from_R(b, u));
    return d;
  };
  const auto flow_c = [&](int64_t u) { return a.first ? Acc(0) : a.carried_c(b, u); };
  if (a.lengths && a.t >= a.lengths[b]) {
    team.each(H, [&](int64_t u) {
      a.carried_h(b, u) = flow_h(u, draw_of(u));
      if constexpr (C::states == 2) {
        a.carried_c(b, u) = flow_c(u);
        a.dn_c(b, u) = Act(Acc(0));
      }
      for (int k = 0; k < C::gates; ++k) {
        a.dWx(b, k * H + u) = a.dRh(b, k * H + u) = Act(Acc(0));
        team.hand_on(b, k * H + u, Act(Acc(0)));
        if constexpr (C::split) a.dN(b, k * H + u) = Act(Acc(0));
      }
    });
    return;
  }
  const bool starts = a.noise.any && a.noise.starts(a.t, b);
  // Keeps g_R times the gradients of unit u's N_t; returns their shares of the sums that LN's
  // gradient needs. What is summed and what the mean is taken from are the same bits: where a row
  // is constant rstd is large, and would make a rounding of the one visible.
  const auto keep = [&](int64_t u, const Acc* to_N) {
    Sums<S, kSums> s;
    for (int k = 0; k < C::gates; ++k) {
      const int64_t row = k * H + u;
      const Acc scaled = a.g_R[row] * to_N[k];
      a.scaled_N(b, row) = scaled;
      const S d = S(scaled);
      s.v[2 * group_of<C>(k)] += d;
      s.v[2 * group_of<C>(k) + 1] += d * S(Acc(a.Rh_hat(b, row)));
    }
    return s;
  };
  Sums<S, kSums> sums;
  if constexpr (C::states == 1) {
    sums = team.template sum<kSums>(H, [&](int64_t u) {
      const uint32_t draw = draw_of(u);
      const Acc ds = flow_h(u, draw);
      const Acc past = a.noise.any ? a.noise.kept_h(draw) * ds : Acc(0);
      const Acc to_cell[2] = {ds - past, Acc(0)};
      const Acc s[2] = {a.fresh ? a.fresh(b, u) : Acc(a.h(b, u)), Acc(0)};
      const Acc s_tm1[2] = {starts ? Acc(0) : Acc(a.h_tm1(b, u)), Acc(0)};
      Acc saved[kNormSavedArray<C>] = {}, to_Wx[C::gates], to_N[C::gates], ds_tm1[2];
      for (int k = 0; k < C::saved; ++k) saved[k] = Acc(a.saved(b, k * H + u));
      C::template backward<Acc>(saved, s_tm1, s, to_cell, to_Wx, to_N, ds_tm1);
      a.carried_h(b, u) = starts ? Acc(0) : ds_tm1[0] + past;
      for (int k = 0; k < C::gates; ++k) {
        a.dWx(b, k * H + u) = Act(to_Wx[k]);
        if constexpr (C::split) a.dN(b, k * H + u) = Act(to_N[k]);
      }
      return keep(u, to_N);
    });
  } else {
    using Cut = NormedLstm<Acc>;
    const Sums<S, 2> sums_c = team.template sum<2>(H, [&](int64_t u) {
      const uint32_t draw = draw_of(u);
      const Acc ds = flow_h(u, draw);
      const Acc past = a.noise.any ? a.noise.kept_h(draw) * ds : Acc(0);
      a.carried_h(b, u) = starts ? Acc(0) : past;
      const Acc hat = Acc(a.c_hat(b, u));
      const Acc dn = Cut::backward_h(Acc(a.saved(b, Cut::kO * H + u)), a.g_c[u] * hat + a.b_c[u],
                                     ds - past, a.scaled_N(b, Cut::kO * H + u));
      const Acc scaled = a.g_c[u] * dn;
      a.scaled_n(b, u) = scaled;
      a.dn_c(b, u) = Act(dn);
      const S d = S(scaled);
      return Sums<S, 2>{{d, d * S(hat)}};
    });
    const Acc mean_d = Acc(sums_c.v[0] / S(H)), mean_d_hat = Acc(sums_c.v[1] / S(H));
    sums = team.template sum<kSums>(H, [&](int64_t u) {
      const Acc ds = flow_c(u);
      const Acc past = a.noise.any ? a.noise.kept_c(draw_of(u)) * ds : Acc(0);
      const Acc through_h = a.scaled_n(b, u) - mean_d - Acc(a.c_hat(b, u)) * mean_d_hat;
      Acc pre[C::gates], to_N[C::gates];
      for (int k = 0; k < C::gates; ++k) pre[k] = Acc(a.saved(b, k * H + u));
      to_N[Cut::kO] = a.scaled_N(b, Cut::kO * H + u);  // so far without g_R
      const Acc dc_tm1 = Cut::backward_c(pre, starts ? Acc(0) : a.c_tm1(b, u),
                                         ds - past + a.c_rstd[b] * through_h, to_N);
      a.carried_c(b, u) = starts ? Acc(0) : dc_tm1 + past;
      for (int k = 0; k < C::gates; ++k) a.dWx(b, k * H + u) = Act(to_N[k]);
      return keep(u, to_N);
    });
  }
  Acc mean[kSums], rstd[kParts];
  for (int p = 0; p < kParts; ++p) {
    rstd[p] = a.Rh_rstd(p, b);
    for (int i = 2 * p; i < 2 * p + 2; ++i) mean[i] = Acc(sums.v[i] / S(gates_in<C>(p) * H));
  }
  team.each(H, [&](int64_t u) {
    for (int k = 0; k < C::gates; ++k) {
      const int64_t row = k * H + u;
      const int p = group_of<C>(k);
      const Act dRh = Act(
          rstd[p] * (a.scaled_N(b, row) - mean[2 * p] - Acc(a.Rh_hat(b, row)) * mean[2 * p + 1]));
      a.dRh(b, row) = dRh;
      team.hand_on(b, row, dRh);
    }
  });
}

}  // namespace unroll
