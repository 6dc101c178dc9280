// The persistent schedule, backward: all T steps in one launch, from the last step that forward
// took to the first. A block keeps the columns of R of its own units: in step i it gathers dRh of
// step i - 1 from all blocks of its batch group and multiplies, so that dh of its units is whole in
// one place, and sends on the dRh of its units. The gradients that pass from step to step without R
// stay in f32 in shared memory, each in a place that one thread owns.
//
// A block alone takes in all G * H gate gradients of its lanes, and what all blocks take in is what
// binds a step. Batch groups shorten that, and so do the clusters of compute capability 9.0: their
// 2 or 4 blocks share K. Each gathers its part of the gate gradients for the units of all of them,
// multiplies, and hands the sums of the others' units over through shared memory, where the owner
// waits for them and adds the parts in the order of the blocks. So a run repeats bit for bit. The
// blocks of a cluster are of one batch group and go through the same steps, whether a group ends
// early or a block gives up a wait.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/backward_part.h"
#include "kernels/recurrent/persistent_launch.cuh"
#include "kernels/recurrent/persistent_product.cuh"

namespace unroll::cuda {
namespace {

template <class E>
struct BackwardPass {
  PersistentLayout l;
  View<E, 3> dWx, dRh;         // [T,B,G*H]; dRh only if the cell is split
  View<const E, 3> dh;         // [T,B,H]
  View<const E, 3> h;          // [T+1,B,H]
  View<const float, 3> c;      // [T+1,B,H]
  View<const E, 3> saved;      // [T,B,S*H]
  View<const float, 3> fresh;  // [T,B,H]  may be left out
  View<const E, 2> R;          // [G*H,H]
  MaskedBy mask;               // of R
  View<const E, 2> next;       // [B,G*H]  dRh of the step after the last; null: there is none
  View<float, 3> past_R;       // [2,B,H]  or null (backward_part.h)
  LoopNoise<float> noise;

  // Whether a step comes after step i of the pass, which may be the next part's first; and which
  // one that is in time, or -1.
  GPU_DEVICE bool followed(int i) const { return i > 0 || next; }
  GPU_DEVICE int next_t(int i) const { return i > 0 ? l.backward_t(i - 1) : next ? l.T : -1; }
};

template <class C>
inline constexpr int kSaved = C::saved > 0 ? C::saved : 1;

// What the two units of an item need of the forward pass; fetched before the wait.
template <class C, class E>
struct BackwardInputs {
  E dh[2] = {}, h_tm1[2] = {}, saved[2][kSaved<C>] = {};
  float last[2] = {}, c_tm1[2] = {};  // last: the last state of the cell, before its zoneout
  Decisions decided;

  template <int N>
  GPU_DEVICE BackwardInputs(const BackwardPass<E>& a, const Item<N>& item, int i) {
    if (!item.exists) return;
    const int t = a.l.backward_t(i);
    const int before = a.l.reverse ? t + 1 : t, after = a.l.reverse ? t : t + 1;
    decided = Decisions(a.l, a.noise, item, t, after, a.next_t(i));
    const bool starts = decided.starts();
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      const int unit = item.unit + v;
      dh[v] = E(0.0f);
      if (unit >= a.l.H) continue;
      dh[v] = a.dh(t, item.b, unit);
      if (!decided.valid()) continue;
      h_tm1[v] = starts ? E(0.0f) : a.h(before, item.b, unit);
      if constexpr (C::states == 2) {
        last[v] = a.c(after, item.b, unit);
        c_tm1[v] = starts ? 0.0f : a.c(before, item.b, unit);
      } else {
        last[v] = float(a.h(after, item.b, unit));
      }
      if (a.fresh) last[v] = a.fresh(t, item.b, unit);
      if constexpr (C::saved > 0) {
#pragma unroll
        for (int k = 0; k < C::saved; ++k) saved[v][k] = a.saved(t, item.b, k * a.l.H + unit);
      }
    }
  }
};

// `carried` holds, for the two units, the gradients of h and c that bypass R.
template <class C, class P, int N, class E = typename P::Element>
GPU_DEVICE void finish_item(const BackwardPass<E>& a, const Product<P, 1, N, true>& product,
                            const Item<N>& item, const BackwardInputs<C, E>& in, int i,
                            bool multiplied, int use, bool awaited, float* carried) {
  float from_R[2][1] = {};
  if (multiplied) product.sums(a.l, item, use, from_R);
  if (!item.exists) return;
  const int t = a.l.backward_t(i);
  gpu::Vec<float, 4> flow{};
  if (i > 0) {
    flow = gpu::load_vec<4>(carried);
  } else if (a.next) {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (item.unit + e % 2 < a.l.H) flow[e] = a.past_R(e / 2, item.b, item.unit + e % 2);
  }
  float ds[2][2] = {}, past[2][2] = {};  // past: what zoneout takes past the cell
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    ds[v][0] = float(in.dh[v]);
    if (!a.followed(i)) continue;
    const float dh = from_R[v][0];
    ds[v][0] += flow[v] + (a.noise.any ? a.noise.handed_on(in.decided.draw(v), dh) : dh);
    ds[v][1] = flow[2 + v];
  }
  if (a.noise.any) {
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      past[v][0] = a.noise.kept_h(in.decided.draw(v)) * ds[v][0];
      past[v][1] = a.noise.kept_c(in.decided.draw(v)) * ds[v][1];
    }
  }
  // Without branches, so that the two units' chains of dependent instructions run side by side; what
  // does not exist is computed from zeros.
  E dWx[C::gates][2], dRh[C::gates][2];
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    float saved[kSaved<C>] = {}, s[2] = {}, s_tm1[2] = {float(in.h_tm1[v]), 0};
    s[C::states - 1] = in.last[v];
    if constexpr (C::states == 2) s_tm1[1] = in.c_tm1[v];
    if constexpr (C::saved > 0) {
#pragma unroll
      for (int k = 0; k < C::saved; ++k) saved[k] = float(in.saved[v][k]);
    }
    float dWx_v[C::gates], dRh_v[C::gates], ds_tm1[2] = {};
    const float to_cell[2] = {ds[v][0] - past[v][0], ds[v][1] - past[v][1]};
    C::template backward<float>(saved, s_tm1, s, to_cell, dWx_v, dRh_v, ds_tm1);
    const bool takes = in.decided.valid() && item.unit + v < a.l.H, starts = in.decided.starts();
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      dWx[k][v] = E(takes ? dWx_v[k] : 0.0f);
      dRh[k][v] = E(takes ? dRh_v[k] : 0.0f);
    }
#pragma unroll
    for (int e = 0; e < C::states; ++e)
      flow[2 * e + v] = !takes ? ds[v][e] : starts ? 0.0f : ds_tm1[e] + past[v][e];
    if constexpr (C::states == 1) flow[2 + v] = 0;
  }
  if (awaited) {
    uint32_t* entry = a.l.entry(i);
#pragma unroll
    for (int k = 0; k < C::gates; ++k)
      publish<P>(a.l, entry, k * a.l.Hp + item.unit, item.b, C::split ? dRh[k] : dWx[k]);
  }
  // The gradient of the carried-in state is nobody's, unless this is a part.
  if (i + 1 < a.l.T) {
    gpu::store_vec(carried, flow);
  } else if (a.past_R) {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (item.unit + e % 2 < a.l.H) a.past_R(e / 2, item.b, item.unit + e % 2) = flow[e];
  }
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    if (item.unit + v >= a.l.H) continue;
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      const int row = k * a.l.H + item.unit + v;
      a.dWx(t, item.b, row) = dWx[k][v];
      if constexpr (C::split) a.dRh(t, item.b, row) = dRh[k][v];
    }
  }
}

template <class C, class P, int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void persistent_backward_kernel(Passes<BackwardPass<typename P::Element>> passes) {
  using E = typename P::Element;
  GPU_DYN_SHARED(raw);
  const BackwardPass<E>& a = passes.mine();
  const PersistentLayout& l = a.l;
  const BlockShare share(l);
  Product<P, 1, N, true> product(l, raw);
  const int items = l.unit_groups * N * 2 * gpu::kWarp, mine = int(threadIdx.x);
  const int chunks = (l.lanes + N * kTileLanes - 1) / (N * kTileLanes);
  float* carried = gpu::carve<float>(raw, size_t(chunks) * items * 4);  // a vector per item
  product.fetch_matrix(l, share, BackwardRows<P>{a.R, a.mask, l.H, l.Hp, l.K});
  int use = 0;
  for (int i = 0; i < l.T; ++i) {
    const bool here = l.backward_t(i) < share.longest;
    const int next_t = a.next_t(i);
    const bool multiplies = here && next_t >= 0 && next_t < share.longest;
    const bool awaited = i + 1 < l.T && here && l.backward_t(i + 1) < share.longest;
    float* carried_here = carried;
#pragma unroll 1
    for (int lane = share.lane_begin; lane < share.lane_end;
         lane += N * kTileLanes, carried_here += items * 4) {
      Item<N> item(mine, l, share, lane);
      BackwardInputs<C, E> in(a, item, i);
      if (multiplies) {
        product.multiply(l, i, [&](int first) {
          if (i > 0) return product.numbers.gather(l, share, lane, i, first);
          product.numbers.gather_rows(l, share, lane, first, [&](int b, int k) {
            const int gate = k / l.Hp;
            return k < l.K ? product.numbers.row_of(a.next.row(b) + gate * l.H, k % l.Hp, l.H)
                           : Words{};
          });
        });
        product.finish(l, use);
      }
#pragma unroll 1
      for (int at = mine; at < items; at += kThreads) {
        if (at != mine) {
          item = Item<N>(at, l, share, lane);
          in = BackwardInputs<C, E>(a, item, i);
        }
        finish_item<C, P, N>(a, product, item, in, i, multiplies, use, awaited,
                             carried_here + at * 4);
      }
      use += multiplies;
    }
  }
  product.leave(l);
}

struct BackwardKernels {
  template <class E>
  using Pass = BackwardPass<E>;
  template <class C, class P, int N>
  static auto of() {
    return persistent_backward_kernel<C, P, N>;
  }
};

template <class E>
BackwardPass<E> backward_pass(const RecurrentBackward& a, const BackwardCarry* carry,
                              const PersistentLayout& l) {
  BackwardPass<E> pass{};
  pass.l = l;
  pass.dWx = a.dWx.as<E>();
  if (a.dRh) pass.dRh = a.dRh.as<E>();
  pass.dh = a.dh.as<const E>();
  pass.h = a.h.as<const E>();
  if (a.c) pass.c = a.c.as<const float>();
  if (a.saved) pass.saved = a.saved.as<const E>();
  if (needs_fresh(a.cell, a.noise)) pass.fresh = a.fresh.as<const float>();
  pass.noise = loop_noise<float>(a.noise, l.B, l.H);
  pass.R = a.R.as<const E>();
  pass.mask = MaskedBy(a.mask);
  if (carry) {
    if (carry->dRh_next) pass.next = carry->dRh_next.as<const E>();
    pass.past_R = carry->past_R.as<float>();
  }
  return pass;
}

PersistentTask task_of(const Exec& exec, const RecurrentBackward& a) {
  return {a.cell, true, a.h.n[1], a.h.n[2], a.h.dtype, exec.matmul};
}

}  // namespace

int64_t persistent_backward_fit(const PersistentTask& task, const PersistentPlan& plan,
                                int passes) {
  return blocks_that_fit<BackwardKernels>(task, plan, passes);
}

void persistent_backward(const Exec& exec, const RecurrentBackward& first,
                         const RecurrentBackward* second, const PersistentPlan& plan,
                         const BackwardCarry* carries) {
  launch_passes<BackwardKernels>(
      exec, task_of(exec, first), plan, first, second,
      [&](auto e, const RecurrentBackward& a, const PersistentLayout& l) {
        const BackwardCarry* carry = carries && &a == second ? carries + 1 : carries;
        return backward_pass<decltype(e)>(a, carry, l);
      });
}

void persistent_backward_parts(const Exec& exec, const RecurrentBackward* passes,
                               const BackwardCarry* carries, int count) {
  persistent_backward(exec, passes[0], count == 2 ? passes + 1 : nullptr,
                      require_plan(exec, task_of(exec, passes[0]), count), carries);
}

void persistent_backward(const Exec& exec, const RecurrentBackward& a) {
  persistent_backward(exec, a, nullptr, require_plan(exec, task_of(exec, a)));
}

void persistent_backward_pair(const Exec& exec, const RecurrentBackward& first,
                              const RecurrentBackward& second) {
  persistent_backward(exec, first, &second, require_plan(exec, task_of(exec, first), 2));
}

}  // namespace unroll::cuda
