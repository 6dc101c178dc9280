// What a step does besides its product, one unit of one lane at a time: for every CUDA schedule.
#pragma once

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/recurrent.h"

namespace unroll::cuda {

template <class C>
inline constexpr int kSaved = C::saved > 0 ? C::saved : 1;  // an array has at least one entry

// Step t of a forward pass; T is the type of activations.
template <class T>
struct ForwardStep {
  View<T, 2> h, saved;         // [B,H] [B,S*H]; saved may be left out
  View<float, 2> c;            // [B,H]
  View<const T, 2> h_tm1;      // [B,H]
  View<const float, 2> c_tm1;  // [B,H]
  View<const float, 2> Wx;     // [B,G*H]
  const float* b_W;            // may be null, as b_R and lengths
  const float* b_R;
  const int32_t* lengths;
  int t;
  LoopNoise<float> noise;
  View<T, 2> h_in;       // [B,H]  what the next step's product reads, where noise masks it
  View<float, 2> fresh;  // [B,H]  may be left out
  int slot, t_next;      // where h is, and who reads it; -1: nobody
};

// Everything that unit u of lane b needs but R h.
template <class C>
struct ForwardUnit {
  float Wx[C::gates], b_R[C::gates], s_tm1[2];
  bool masked;  // beyond the lane's length: the state is copied

  template <class T>
  GPU_DEVICE void load(const ForwardStep<T>& a, int64_t b, int64_t u) {
    const int64_t H = a.h.n[1];
    s_tm1[0] = float(a.h_tm1(b, u));
    s_tm1[1] = 0;
    if constexpr (C::states == 2) s_tm1[1] = a.c_tm1(b, u);
    masked = a.lengths && a.t >= a.lengths[b];
    if (a.noise.any && !masked && a.noise.starts(a.t, b)) s_tm1[0] = s_tm1[1] = 0;
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      const int64_t row = k * H + u;
      Wx[k] = a.Wx(b, row) + (a.b_W ? a.b_W[row] : 0.0f);
      b_R[k] = a.b_R ? a.b_R[row] : 0.0f;
    }
  }
  // Writes the states and the saved numbers; returns what the next step's product reads: h_t, or
  // what noise leaves of it.
  template <class T>
  GPU_DEVICE T finish(const ForwardStep<T>& a, int64_t b, int64_t u, float (&Rh)[C::gates]) const {
    float s[2] = {s_tm1[0], s_tm1[1]}, saved[kSaved<C>] = {};
    if (!masked) {
#pragma unroll
      for (int k = 0; k < C::gates; ++k) Rh[k] += b_R[k];
      C::template forward<float>(Wx, Rh, s_tm1, s, saved);
    }
    uint32_t draw = 0;
    if (a.noise.any) {
      draw = a.noise.draw(a.slot, b, u, a.t_next);
      if (!masked) {
        if (a.fresh) a.fresh(b, u) = s[C::states - 1];
        s[0] = zoned(a.noise.kept_h(draw), s_tm1[0], s[0]);
        s[1] = zoned(a.noise.kept_c(draw), s_tm1[1], s[1]);
      }
    }
    const T h = T(s[0]);
    a.h(b, u) = h;
    if constexpr (C::states == 2) a.c(b, u) = s[1];
    if constexpr (C::saved > 0) {
      if (a.saved) {
#pragma unroll
        for (int k = 0; k < C::saved; ++k) a.saved(b, k * a.h.n[1] + u) = T(saved[k]);
      }
    }
    if (!a.noise.any) return h;
    const T handed_on = T(a.noise.handed_on(draw, float(h)));
    if (a.h_in) a.h_in(b, u) = handed_on;
    return handed_on;
  }
};

// Step t of a backward pass.
template <class T>
struct BackwardStep {
  View<T, 2> dWx, dRh;                  // [B,G*H]; dRh only if the cell is split
  View<float, 2> carried_h, carried_c;  // [B,H]; gradient of s_t in, of s_tm1 out
  View<const T, 2> dh;                  // [B,H]
  View<const T, 2> h, h_tm1;            // [B,H]
  View<const float, 2> c, c_tm1;        // [B,H]
  View<const T, 2> saved;               // [B,S*H]
  const int32_t* lengths;
  int t;
  bool first;  // nothing is carried yet
  LoopNoise<float> noise;
  View<const float, 2> fresh;  // [B,H]  may be left out
  int slot, t_next;            // of h, and the step after this one in time; -1: none
};

// What unit u of lane b reads: of earlier passes in load(), of the step after this one in
// load_carried().
template <class C>
struct BackwardUnit {
  float saved[kSaved<C>], s[2], s_tm1[2], ds[2];
  bool masked;
  uint32_t draw;

  template <class T>
  GPU_DEVICE void load(const BackwardStep<T>& a, int64_t b, int64_t u) {
    masked = a.lengths && a.t >= a.lengths[b];
    ds[0] = float(a.dh(b, u));
    ds[1] = s[1] = s_tm1[1] = 0;
    s[0] = float(a.h(b, u));
    s_tm1[0] = float(a.h_tm1(b, u));
    if constexpr (C::states == 2) {
      s[1] = a.c(b, u);
      s_tm1[1] = a.c_tm1(b, u);
    }
    if constexpr (C::saved > 0) {
#pragma unroll
      for (int k = 0; k < C::saved; ++k)
        saved[k] = masked ? 0.0f : float(a.saved(b, k * a.dh.n[1] + u));
    }
    draw = 0;
    if (!a.noise.any) return;
    draw = a.noise.draw(a.slot, b, u, a.t_next);
    if (masked) return;
    if (a.fresh) s[C::states - 1] = a.fresh(b, u);
    if (a.noise.starts(a.t, b)) {
      draw |= LoopNoise<float>::kStarts;
      s_tm1[0] = s_tm1[1] = 0;
    }
  }
  template <class T>
  GPU_DEVICE void load_carried(const BackwardStep<T>& a, int64_t b, int64_t u) {
    if (a.first) return;
    ds[0] += a.carried_h(b, u);
    if constexpr (C::states == 2) ds[1] += a.carried_c(b, u);
  }
  // R^T dRh of the step after this one.
  template <class T>
  GPU_DEVICE void add_from_R(const BackwardStep<T>& a, float dh_in) {
    ds[0] += a.noise.any ? a.noise.handed_on(draw, dh_in) : dh_in;
  }
  // Writes the gradients of the pre-activations, and what the step before is to get besides its
  // product with R; leaves in dRh what that product multiplies.
  template <class T>
  GPU_DEVICE void finish(const BackwardStep<T>& a, int64_t b, int64_t u, T (&dRh)[C::gates]) const {
    const int64_t H = a.dh.n[1];
    float to_Wx[C::gates] = {}, to_Rh[C::gates] = {}, ds_tm1[2] = {ds[0], ds[1]};
    if (!masked) {
      float past[2] = {}, to_cell[2] = {ds[0], ds[1]};
      if (a.noise.any) {
        past[0] = a.noise.kept_h(draw) * ds[0];
        past[1] = a.noise.kept_c(draw) * ds[1];
        to_cell[0] -= past[0];
        to_cell[1] -= past[1];
      }
      C::template backward<float>(saved, s_tm1, s, to_cell, to_Wx, to_Rh, ds_tm1);
      if (a.noise.any) {
        const bool starts = draw & LoopNoise<float>::kStarts;
        ds_tm1[0] = starts ? 0.0f : ds_tm1[0] + past[0];
        ds_tm1[1] = starts ? 0.0f : ds_tm1[1] + past[1];
      }
    }
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      a.dWx(b, k * H + u) = T(to_Wx[k]);
      dRh[k] = T(C::split ? to_Rh[k] : to_Wx[k]);
      if constexpr (C::split) a.dRh(b, k * H + u) = dRh[k];
    }
    a.carried_h(b, u) = ds_tm1[0];
    if constexpr (C::states == 2) a.carried_c(b, u) = ds_tm1[1];
  }
};

// The arguments of every step: where in the arrays of the pass step t reads and writes. `i` counts
// the steps in the order in which they run; numbers of steps and slots are those of the chunk.
template <class C, class T>
ForwardStep<T> forward_step(const RecurrentForward& a, int64_t i) {
  const int64_t T_steps = a.Wx.n[0], t = a.reverse ? T_steps - 1 - i : i;
  const int64_t before = a.reverse ? t + 1 : t, after = a.reverse ? t : t + 1;
  ForwardStep<T> step{};
  step.h = a.h.at(after).template as<T>();
  step.h_tm1 = a.h.at(before).template as<const T>();
  if (C::states == 2) {
    step.c = a.c.at(after).template as<float>();
    step.c_tm1 = a.c.at(before).template as<const float>();
  }
  if (a.saved) step.saved = a.saved.at(t).template as<T>();
  step.Wx = a.Wx.at(t).template as<const float>();
  step.b_W = static_cast<const float*>(a.b_W.data);
  step.b_R = static_cast<const float*>(a.b_R.data);
  step.lengths = static_cast<const int32_t*>(a.lengths.data);
  step.t = int(a.first_step + t);
  step.noise = loop_noise<float>(a.noise, a.h.n[1], a.h.n[2]);
  step.slot = int(a.first_step + after);
  step.t_next = -1;
  if (i + 1 < T_steps) {
    const int64_t next = a.reverse ? t - 1 : t + 1;
    step.t_next = int(a.first_step + next);
    if (a.noise.masks_h()) step.h_in = a.h_in.at(next).template as<T>();
  }
  if (needs_fresh(a.cell, a.noise) && a.fresh) step.fresh = a.fresh.at(t).template as<float>();
  return step;
}

template <class C, class T>
BackwardStep<T> backward_step(const RecurrentBackward& a, const View2& carried_h,
                              const View2& carried_c, int64_t i) {
  const int64_t T_steps = a.dh.n[0], t = a.reverse ? i : T_steps - 1 - i;
  const int64_t before = a.reverse ? t + 1 : t, after = a.reverse ? t : t + 1;
  BackwardStep<T> step{};
  step.dWx = a.dWx.at(t).template as<T>();
  if (C::split) step.dRh = a.dRh.at(t).template as<T>();
  step.carried_h = carried_h.template as<float>();
  step.carried_c = carried_c.template as<float>();
  step.dh = a.dh.at(t).template as<const T>();
  step.h = a.h.at(after).template as<const T>();
  step.h_tm1 = a.h.at(before).template as<const T>();
  if (C::states == 2) {
    step.c = a.c.at(after).template as<const float>();
    step.c_tm1 = a.c.at(before).template as<const float>();
  }
  if (C::saved > 0) step.saved = a.saved.at(t).template as<const T>();
  step.lengths = static_cast<const int32_t*>(a.lengths.data);
  step.t = int(a.first_step + t);
  step.first = i == 0;
  step.noise = loop_noise<float>(a.noise, a.h.n[1], a.h.n[2]);
  step.slot = int(a.first_step + after);
  step.t_next = i == 0 ? -1 : int(a.first_step + (a.reverse ? t - 1 : t + 1));
  if (needs_fresh(a.cell, a.noise)) step.fresh = a.fresh.at(t).template as<const float>();
  return step;
}

}  // namespace unroll::cuda
