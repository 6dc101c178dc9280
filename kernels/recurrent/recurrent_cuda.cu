// The alternating schedule: per step one product on the recurrent matrix and one kernel that does
// everything else, a thread to each unit of each lane. Meant to be captured in a graph, where the
// launches of a step cost little.
//
//   forward, step t     Rh = h_tm1 R^T           then   s_t = cell(Wx_t + b_W, Rh + b_R, s_tm1)
//   backward, step t    dWx_t, dRh_t from dh_t   then   dh_tm1 += dRh_t R
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/cells/cell_types.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/recurrent.h"
#include "kernels/recurrent/recurrent_scratch.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 128;

template <class C>
inline constexpr int kSaved = C::saved > 0 ? C::saved : 1;  // an array has at least one entry

// Unit u of lane b, for this thread.
struct Unit {
  int64_t b, u;
  bool exists;
  GPU_DEVICE Unit(int64_t B, int64_t H) {
    const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
    b = i / H;
    u = i - b * H;
    exists = b < B;
  }
};

template <class T>
struct ForwardStep {
  View<T, 2> h, saved;         // [B,H] [B,S*H]
  View<float, 2> c;            // [B,H]
  View<const T, 2> h_tm1;      // [B,H]
  View<const float, 2> c_tm1;  // [B,H]
  View<const float, 2> Wx;     // [B,G*H]
  View<const float, 2> Rh;     // [B,G*H]
  const float* b_W;
  const float* b_R;
  const int32_t* lengths;
  int t;
};

template <class C, class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void forward_kernel(ForwardStep<T> a) {
  const int64_t H = a.h.n[1];
  const Unit unit(a.h.n[0], H);
  if (!unit.exists) return;
  const int64_t b = unit.b, u = unit.u;
  float s_tm1[2] = {float(a.h_tm1(b, u)), 0}, s[2] = {}, saved[kSaved<C>] = {};
  if constexpr (C::states == 2) s_tm1[1] = a.c_tm1(b, u);
  if (a.lengths && a.t >= a.lengths[b]) {
    s[0] = s_tm1[0];
    s[1] = s_tm1[1];
  } else {
    float Wx[C::gates], Rh[C::gates];
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      const int64_t row = k * H + u;
      Wx[k] = a.Wx(b, row) + (a.b_W ? a.b_W[row] : 0.0f);
      Rh[k] = a.Rh(b, row) + (a.b_R ? a.b_R[row] : 0.0f);
    }
    C::template forward<float>(Wx, Rh, s_tm1, s, saved);
  }
  a.h(b, u) = T(s[0]);
  if constexpr (C::states == 2) a.c(b, u) = s[1];
  if constexpr (C::saved > 0) {
    if (a.saved) {
#pragma unroll
      for (int k = 0; k < C::saved; ++k) a.saved(b, k * H + u) = T(saved[k]);
    }
  }
}

template <class T>
struct BackwardStep {
  View<T, 2> dWx, dRh;                  // [B,G*H]; dRh only if the cell is split
  View<float, 2> carried_h, carried_c;  // [B,H]; gradient of s_t in, of s_tm1 out, without R's part
  View<const T, 2> dh;                  // [B,H]
  View<const T, 2> h, h_tm1;            // [B,H]
  View<const float, 2> c, c_tm1;        // [B,H]
  View<const T, 2> saved;               // [B,S*H]
  const int32_t* lengths;
  int t;
  bool first;  // nothing is carried yet
};

template <class C, class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void backward_kernel(BackwardStep<T> a) {
  const int64_t H = a.dh.n[1];
  const Unit unit(a.dh.n[0], H);
  if (!unit.exists) return;
  const int64_t b = unit.b, u = unit.u;
  float ds[2] = {float(a.dh(b, u)), 0}, ds_tm1[2] = {};
  if (!a.first) {
    ds[0] += a.carried_h(b, u);
    if constexpr (C::states == 2) ds[1] = a.carried_c(b, u);
  }
  float dWx[C::gates] = {}, dRh[C::gates] = {};
  if (a.lengths && a.t >= a.lengths[b]) {
    ds_tm1[0] = ds[0];
    ds_tm1[1] = ds[1];
  } else {
    float saved[kSaved<C>] = {}, s[2] = {float(a.h(b, u)), 0}, s_tm1[2] = {float(a.h_tm1(b, u)), 0};
    if constexpr (C::states == 2) {
      s[1] = a.c(b, u);
      s_tm1[1] = a.c_tm1(b, u);
    }
    if constexpr (C::saved > 0) {
#pragma unroll
      for (int k = 0; k < C::saved; ++k) saved[k] = float(a.saved(b, k * H + u));
    }
    C::template backward<float>(saved, s_tm1, s, ds, dWx, dRh, ds_tm1);
  }
#pragma unroll
  for (int k = 0; k < C::gates; ++k) {
    a.dWx(b, k * H + u) = T(dWx[k]);
    if constexpr (C::split) a.dRh(b, k * H + u) = T(dRh[k]);
  }
  a.carried_h(b, u) = ds_tm1[0];
  if constexpr (C::states == 2) a.carried_c(b, u) = ds_tm1[1];
}

gpu::Launch unit_launch(int64_t B, int64_t H) {
  gpu::Launch shape;
  shape.grid.x = unsigned((B * H + kThreads - 1) / kThreads);
  shape.block.x = kThreads;
  return shape;
}

template <class C, class T>
void forward_all(const Exec& exec, const RecurrentForward& a) {
  const int64_t T_steps = a.Wx.n[0], B = a.Wx.n[1], GH = a.Wx.n[2], H = a.h.n[2];
  const RecurrentScratch scratch = recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H);
  const View2 Rh = view_of(scratch.Rh, DType::f32, B, GH);
  for (int64_t i = 0; i < T_steps; ++i) {
    const int64_t t = a.reverse ? T_steps - 1 - i : i;
    const int64_t before = a.reverse ? t + 1 : t, after = a.reverse ? t : t + 1;
    cuda::gemm(exec, {.C = Rh, .A = a.h.at(before), .B = a.R, .transpose_B = Transpose::yes});
    ForwardStep<T> step{};
    step.h = a.h.at(after).template as<T>();
    step.h_tm1 = a.h.at(before).template as<const T>();
    if (C::states == 2) {
      step.c = a.c.at(after).template as<float>();
      step.c_tm1 = a.c.at(before).template as<const float>();
    }
    if (a.saved) step.saved = a.saved.at(t).template as<T>();
    step.Wx = a.Wx.at(t).template as<const float>();
    step.Rh = Rh.template as<const float>();
    step.b_W = static_cast<const float*>(a.b_W.data);
    step.b_R = static_cast<const float*>(a.b_R.data);
    step.lengths = static_cast<const int32_t*>(a.lengths.data);
    step.t = int(t);
    gpu::launch(forward_kernel<C, T>, unit_launch(B, H), exec.stream, step);
  }
}

template <class C, class T>
void backward_all(const Exec& exec, const RecurrentBackward& a) {
  const int64_t T_steps = a.dh.n[0], B = a.dh.n[1], H = a.dh.n[2];
  const RecurrentScratch scratch = recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H);
  const View2 carried_h = view_of(scratch.dh, DType::f32, B, H);
  const View2 carried_c = view_of(scratch.dc, DType::f32, B, H);
  for (int64_t i = 0; i < T_steps; ++i) {
    const int64_t t = a.reverse ? i : T_steps - 1 - i;
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
    step.t = int(t);
    step.first = i == 0;
    gpu::launch(backward_kernel<C, T>, unit_launch(B, H), exec.stream, step);
    // The gradient of the carried-in state is nobody's.
    if (i + 1 < T_steps)
      cuda::gemm(exec,
                 {.C = carried_h, .A = (C::split ? a.dRh : a.dWx).at(t), .B = a.R, .beta = 1});
  }
}

}  // namespace

void recurrent_forward(const Exec& exec, const RecurrentForward& args) {
  with_cell(args.cell, [&](auto cell) {
    with_act("recurrent_forward", args.h.dtype,
             [&](auto zero) { forward_all<decltype(cell), decltype(zero)>(exec, args); });
  });
}

void recurrent_backward(const Exec& exec, const RecurrentBackward& args) {
  with_cell(args.cell, [&](auto cell) {
    with_act("recurrent_backward", args.h.dtype,
             [&](auto zero) { backward_all<decltype(cell), decltype(zero)>(exec, args); });
  });
}

}  // namespace unroll::cuda
