// The alternating schedule: per step one product on the recurrent matrix and one kernel that does
// everything else, a thread to each unit of each lane. Meant to be captured in a graph, where the
// launches of a step cost little. With layer normalisation that kernel has a block to each lane
// instead: loop_norm_cuda.cu.
//
//   forward, step t     Rh = h_tm1 R^T           then   s_t = cell(Wx_t + b_W, Rh + b_R, s_tm1)
//   backward, step t    dWx_t, dRh_t from dh_t   then   dh_tm1 += dRh_t R
//
// Where noise masks the h_tm1 that R multiplies, forward reads it from h_in, and backward leaves
// the product by itself for the next kernel to mask.
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/cell_step.cuh"
#include "kernels/recurrent/loop_norm_cuda.h"
#include "kernels/recurrent/recurrent_scratch.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 128;

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

template <class C, class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void forward_kernel(ForwardStep<T> a, View<const float, 2> Rh) {
  const int64_t H = a.h.n[1];
  const Unit unit(a.h.n[0], H);
  if (!unit.exists) return;
  ForwardUnit<C> in;
  in.load(a, unit.b, unit.u);
  float mine[C::gates];
#pragma unroll
  for (int k = 0; k < C::gates; ++k) mine[k] = Rh(unit.b, k * H + unit.u);
  in.finish(a, unit.b, unit.u, mine);
}

template <class C, class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void backward_kernel(BackwardStep<T> a, View<const float, 2> from_R) {
  const Unit unit(a.dh.n[0], a.dh.n[1]);
  if (!unit.exists) return;
  BackwardUnit<C> in;
  in.load(a, unit.b, unit.u);
  in.load_carried(a, unit.b, unit.u);
  if (from_R && !a.first) in.add_from_R(a, from_R(unit.b, unit.u));
  T dRh[C::gates];
  in.finish(a, unit.b, unit.u, dRh);
}

template <class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void first_input_kernel(View<T, 2> h_in, View<const T, 2> h, LoopNoise<float> noise, int slot,
                        int t) {
  const Unit unit(h.n[0], h.n[1]);
  if (!unit.exists) return;
  const uint32_t draw = noise.draw(slot, unit.b, unit.u, t);
  h_in(unit.b, unit.u) = T(noise.handed_on(draw, float(h(unit.b, unit.u))));
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
  const RecurrentScratch scratch =
      recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, bool(a.norm));
  const View2 Rh = view_of(scratch.Rh, DType::f32, B, GH);
  View2 x = first_input(exec, a);
  for (int64_t i = 0; i < T_steps; ++i) {
    if (i > 0) {
      const int64_t before = a.reverse ? T_steps - i : i;
      x = a.noise.masks_h() ? a.h_in.at(a.reverse ? before - 1 : before) : a.h.at(before);
    }
    cuda::gemm(exec, {.C = Rh, .A = x, .B = a.R, .transpose_B = Transpose::yes});
    if (a.norm)
      normed_forward_step(exec, a, Rh, i);
    else
      gpu::launch(forward_kernel<C, T>, unit_launch(B, H), exec.stream, forward_step<C, T>(a, i),
                  Rh.as<const float>());
  }
}

template <class C, class T>
void backward_all(const Exec& exec, const RecurrentBackward& a) {
  const int64_t T_steps = a.dh.n[0], B = a.dh.n[1], H = a.dh.n[2];
  const RecurrentScratch scratch =
      recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, bool(a.norm));
  const View2 carried_h = view_of(scratch.dh, DType::f32, B, H);
  const View2 carried_c = view_of(scratch.dc, DType::f32, B, H);
  const bool masked = a.noise.masks_h();
  const View2 from_R = masked ? view_of(scratch.Rh, DType::f32, B, H) : View2{};
  for (int64_t i = 0; i < T_steps; ++i) {
    if (a.norm)
      normed_backward_step(exec, a, from_R, i);
    else
      gpu::launch(backward_kernel<C, T>, unit_launch(B, H), exec.stream,
                  backward_step<C, T>(a, carried_h, carried_c, i), from_R.as<const float>());
    const int64_t t = a.reverse ? i : T_steps - 1 - i;
    // The gradient of the carried-in state is nobody's.
    if (i + 1 < T_steps)
      cuda::gemm(exec, {.C = masked ? from_R : carried_h,
                        .A = (C::split || a.norm ? a.dRh : a.dWx).at(t),
                        .B = a.R,
                        .beta = masked ? 0.0 : 1.0});
  }
}

}  // namespace

View2 first_input(const Exec& exec, const RecurrentForward& a) {
  const int64_t T_steps = a.Wx.n[0], B = a.Wx.n[1], H = a.h.n[2];
  const int64_t t = a.reverse ? T_steps - 1 : 0, slot = a.reverse ? T_steps : 0;
  if (!a.noise.masks_h()) return a.h.at(slot);
  with_act("recurrent_forward", a.h.dtype, [&](auto zero) {
    using T = decltype(zero);
    gpu::launch(first_input_kernel<T>, unit_launch(B, H), exec.stream, a.h_in.at(t).as<T>(),
                a.h.at(slot).as<const T>(), loop_noise<float>(a.noise, B, H),
                int(a.first_step + slot), int(a.first_step + t));
  });
  return a.h_in.at(t);
}

void alternating_forward(const Exec& exec, const RecurrentForward& args) {
  with_cell(args.cell, [&](auto cell) {
    with_act("recurrent_forward", args.h.dtype,
             [&](auto zero) { forward_all<decltype(cell), decltype(zero)>(exec, args); });
  });
}

void alternating_backward(const Exec& exec, const RecurrentBackward& args) {
  with_cell(args.cell, [&](auto cell) {
    with_act("recurrent_backward", args.h.dtype,
             [&](auto zero) { backward_all<decltype(cell), decltype(zero)>(exec, args); });
  });
}

}  // namespace unroll::cuda
