// The persistent schedule, forward: all T steps in one launch. In step i a block gathers h of step
// i - 1 from all blocks of its batch group, multiplies it by its rows of R, and sends on the h of
// its own units, or what noise leaves of it; what the caller sees is written after that, while the
// others still wait.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/persistent_launch.cuh"
#include "kernels/recurrent/persistent_product.cuh"

namespace unroll::cuda {
namespace {

template <class E>
struct ForwardPass {
  PersistentLayout l;
  View<E, 3> h, saved;      // [T+1,B,H] [T,B,S*H]
  View<float, 3> c;         // [T+1,B,H]
  View<E, 3> h_in;          // [T,B,H]  where noise masks what R multiplies
  View<float, 3> fresh;     // [T,B,H]  may be left out
  View<const E, 2> first;   // [B,H]    what R multiplies in the first step
  View<const float, 3> Wx;  // [T,B,G*H]
  View<const E, 2> R;       // [G*H,H]
  bool R_aligned;           // every row begins on 16 bytes
  MaskedBy mask;            // of R
  const float *b_W, *b_R;   // [G*H], or null
  LoopNoise<float> noise;

  // The step that reads what step i hands on; -1: none.
  GPU_DEVICE int next_t(int i) const { return i + 1 < l.T ? l.forward_t(i + 1) : -1; }
};

// What the two units of an item need besides the product; fetched before the wait.
template <class C, class E>
struct ForwardInputs {
  // Both biases are in Wx unless the cell treats R h apart from W x.
  float Wx[2][C::gates] = {}, b_R[2][C::split ? C::gates : 1] = {}, c_tm1[2] = {};
  E h_tm1[2];
  Decisions decided;

  template <int N>
  GPU_DEVICE ForwardInputs(const ForwardPass<E>& a, const Item<N>& item, int i) {
    if (!item.exists) return;
    const int t = a.l.forward_t(i), before = a.l.reverse ? t + 1 : t;
    decided = Decisions(a.l, a.noise, item, t, a.l.reverse ? t : t + 1, a.next_t(i));
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      const int unit = item.unit + v;
      h_tm1[v] = E(0.0f);
      if (unit >= a.l.H) continue;
      if (!decided.starts()) h_tm1[v] = a.h(before, item.b, unit);
      if constexpr (C::states == 2) c_tm1[v] = decided.starts() ? 0.0f : a.c(before, item.b, unit);
      if (!decided.valid()) continue;
#pragma unroll
      for (int k = 0; k < C::gates; ++k) {
        const int row = k * a.l.H + unit;
        Wx[v][k] = a.Wx(t, item.b, row) + (a.b_W ? a.b_W[row] : 0.0f);
        const float recurrent = a.b_R ? a.b_R[row] : 0.0f;
        if constexpr (C::split)
          b_R[v][k] = recurrent;
        else
          Wx[v][k] += recurrent;
      }
    }
  }
};

template <class C, class P, int N, class E = typename P::Element>
GPU_DEVICE void finish_item(const ForwardPass<E>& a, const Product<P, C::gates, N, false>& product,
                            const Item<N>& item, const ForwardInputs<C, E>& in, int i,
                            bool awaited) {
  if (!item.exists) return;
  const int t = a.l.forward_t(i), after = a.l.reverse ? t : t + 1;
  constexpr int kSaved = C::saved > 0 ? C::saved : 1;
  float Rh[2][C::gates] = {};
  const bool valid = in.decided.valid();
  if (valid) product.sums(a.l, item, i, Rh);  // otherwise there may be none: the group has ended
  E h[2] = {in.h_tm1[0], in.h_tm1[1]};
  float c[2] = {}, s[2][2] = {}, saved[2][kSaved] = {};
  // Without branches, so that the two units' chains of dependent instructions run side by side; what
  // does not exist is computed from zeros.
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    if constexpr (C::states == 2) c[v] = in.c_tm1[v];
    if constexpr (C::split) {
#pragma unroll
      for (int k = 0; k < C::gates; ++k) Rh[v][k] += in.b_R[v][k];
    }
    const float s_tm1[2] = {float(h[v]), c[v]};
    C::template forward<float>(in.Wx[v], Rh[v], s_tm1, s[v], saved[v]);
  }
  const float fresh[2] = {s[0][C::states - 1], s[1][C::states - 1]};
  if (a.noise.any) {
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      s[v][0] = zoned(a.noise.kept_h(in.decided.draw(v)), float(h[v]), s[v][0]);
      s[v][1] = zoned(a.noise.kept_c(in.decided.draw(v)), c[v], s[v][1]);
    }
  }
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    const bool takes = valid && item.unit + v < a.l.H;
    h[v] = takes ? E(s[v][0]) : h[v];
    c[v] = takes ? s[v][1] : c[v];
  }
  E handed_on[2] = {h[0], h[1]};
  if (a.noise.any) {
#pragma unroll
    for (int v = 0; v < 2; ++v)
      handed_on[v] = E(a.noise.handed_on(in.decided.draw(v), float(h[v])));
  }
  if (awaited) publish<P>(a.l, a.l.entry(i), item.unit, item.b, handed_on);
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    const int unit = item.unit + v;
    if (unit >= a.l.H) continue;
    a.h(after, item.b, unit) = h[v];
    if (a.h_in && i + 1 < a.l.T) a.h_in(a.next_t(i), item.b, unit) = handed_on[v];
    if (a.fresh && in.decided.valid()) a.fresh(t, item.b, unit) = fresh[v];
    if constexpr (C::states == 2) a.c(after, item.b, unit) = c[v];
    if constexpr (C::saved > 0) {
      if (a.saved) {
#pragma unroll
        for (int k = 0; k < C::saved; ++k) a.saved(t, item.b, k * a.l.H + unit) = E(saved[v][k]);
      }
    }
  }
}

template <class C, class P, int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void persistent_forward_kernel(Passes<ForwardPass<typename P::Element>> passes) {
  using E = typename P::Element;
  GPU_DYN_SHARED(raw);
  const ForwardPass<E>& a = passes.mine();
  const PersistentLayout& l = a.l;
  const BlockShare share(l);
  Product<P, C::gates, N, false> product(l, raw);
  product.fetch_matrix(l, share, ForwardRows<P>{a.R, a.R_aligned, a.mask, l.H});
  const int items = l.unit_groups * N * 2 * gpu::kWarp, mine = int(threadIdx.x);
  for (int i = 0; i < l.T; ++i) {
    const bool multiplies = l.forward_t(i) < share.longest;
    const bool awaited = i + 1 < l.T && l.forward_t(i + 1) < share.longest;
#pragma unroll 1
    for (int lane = share.lane_begin; lane < share.lane_end; lane += N * kTileLanes) {
      // Most often a thread has one item.
      Item<N> item(mine, l, share, lane);
      ForwardInputs<C, E> in(a, item, i);
      if (multiplies) {
        product.multiply(l, i, [&](int first) {
          if (i == 0)
            product.numbers.gather_first(l, share, lane, a.first, first);
          else
            product.numbers.gather(l, share, lane, i, first);
        });
        product.finish(l, i);
      }
#pragma unroll 1
      for (int at = mine; at < items; at += kThreads) {
        if (at != mine) {
          item = Item<N>(at, l, share, lane);
          in = ForwardInputs<C, E>(a, item, i);
        }
        finish_item<C, P, N>(a, product, item, in, i, awaited);
      }
    }
  }
}

struct ForwardKernels {
  template <class E>
  using Pass = ForwardPass<E>;
  template <class C, class P, int N>
  static auto of() {
    return persistent_forward_kernel<C, P, N>;
  }
};

template <class E>
ForwardPass<E> forward_pass(const Exec& exec, const RecurrentForward& a,
                            const PersistentLayout& l) {
  ForwardPass<E> pass{};
  pass.l = l;
  pass.h = a.h.as<E>();
  if (a.saved) pass.saved = a.saved.as<E>();
  if (a.c) pass.c = a.c.as<float>();
  if (a.noise.masks_h()) pass.h_in = a.h_in.as<E>();
  if (needs_fresh(a.cell, a.noise) && a.fresh) pass.fresh = a.fresh.as<float>();
  pass.first = first_input(exec, a).as<const E>();
  pass.noise = loop_noise<float>(a.noise, l.B, l.H);
  pass.Wx = a.Wx.as<const float>();
  pass.R = a.R.as<const E>();
  pass.R_aligned = rows_aligned(a.R);
  pass.mask = MaskedBy(a.mask);
  pass.b_W = static_cast<const float*>(a.b_W.data);
  pass.b_R = static_cast<const float*>(a.b_R.data);
  return pass;
}

PersistentTask task_of(const Exec& exec, const RecurrentForward& a) {
  return {a.cell, false, a.h.n[1], a.h.n[2], a.h.dtype, exec.matmul};
}

}  // namespace

int64_t persistent_forward_fit(const PersistentTask& task, const PersistentPlan& plan, int passes) {
  return blocks_that_fit<ForwardKernels>(task, plan, passes);
}

void persistent_forward(const Exec& exec, const RecurrentForward& first,
                        const RecurrentForward* second, const PersistentPlan& plan) {
  launch_passes<ForwardKernels>(exec, task_of(exec, first), plan, first, second,
                                [&](auto e, const RecurrentForward& a, const PersistentLayout& l) {
                                  return forward_pass<decltype(e)>(exec, a, l);
                                });
}

void persistent_forward(const Exec& exec, const RecurrentForward& a) {
  persistent_forward(exec, a, nullptr, require_plan(exec, task_of(exec, a)));
}

void persistent_forward_pair(const Exec& exec, const RecurrentForward& first,
                             const RecurrentForward& second) {
  persistent_forward(exec, first, &second, require_plan(exec, task_of(exec, first), 2));
}

}  // namespace unroll::cuda
