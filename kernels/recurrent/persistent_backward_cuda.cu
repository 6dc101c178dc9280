// The persistent schedule, backward: all T steps in one launch, from the last step that forward
// took to the first. A block keeps the columns of R of its own units: in step i it gathers dRh of
// step i - 1 from all blocks of its batch group and multiplies, so that dh of its units is whole in
// one place, and sends on the dRh of its units. The gradients that pass from step to step without R
// stay in f32 in shared memory, each in a place that one thread owns.
//
// Every block takes in all G * H gate gradients of its lanes. Batch groups shorten that; splitting
// K over the blocks of a cluster, with a second exchange of partial sums, would too.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/backward_part.h"
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
  View<const E, 2> next;       // [B,G*H]  dRh of the step after the last; null: there is none
  View<float, 3> past_R;       // [2,B,H]  or null (backward_part.h)
  LoopNoise<float> noise;

  // Whether a step comes after step i of the pass.
  GPU_DEVICE bool followed(int i) const { return i > 0 || next; }
};

template <class C>
inline constexpr int kSaved = C::saved > 0 ? C::saved : 1;

// What the two units of an item need of the forward pass; fetched before the wait.
template <class C, class E>
struct BackwardInputs {
  E dh[2], h_tm1[2], saved[2][kSaved<C>];
  float last[2], c_tm1[2];  // last: the last state of the cell, before its zoneout
  Decisions decided;

  template <int N>
  GPU_DEVICE BackwardInputs(const BackwardPass<E>& a, const Item<N>& item, int i) {
    if (!item.exists) return;
    const int t = a.l.backward_t(i);
    const int before = a.l.reverse ? t + 1 : t, after = a.l.reverse ? t : t + 1;
    decided = Decisions(a.l, a.noise, item, t, after, i > 0 ? a.l.backward_t(i - 1) : -1);
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
GPU_DEVICE void finish_item(const BackwardPass<E>& a, const Product<P, 1, N>& product,
                            const Item<N>& item, const BackwardInputs<C, E>& in, int i,
                            bool multiplied, bool awaited, float* carried) {
  if (!item.exists) return;
  const int t = a.l.backward_t(i);
  float from_R[2] = {};
  gpu::Vec<float, 4> flow{};
  if (multiplied) product.sums(a.l, item, 0, from_R[0], from_R[1]);
  if (i > 0) {
    flow = gpu::load_vec<4>(carried);
  } else if (a.next) {
#pragma unroll
    for (int e = 0; e < 4; ++e)
      if (item.unit + e % 2 < a.l.H) flow[e] = a.past_R(e / 2, item.b, item.unit + e % 2);
  }
  E dWx[C::gates][2], dRh[C::gates][2];
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    float ds[2] = {float(in.dh[v]), 0};
    if (a.followed(i)) {
      ds[0] +=
          flow[v] + (a.noise.any ? a.noise.handed_on(in.decided.draw(v), from_R[v]) : from_R[v]);
      ds[1] = flow[2 + v];
    }
    float dWx_v[C::gates] = {}, dRh_v[C::gates] = {}, ds_tm1[2] = {ds[0], ds[1]};
    if (in.decided.valid() && item.unit + v < a.l.H) {
      float saved[kSaved<C>] = {}, s[2] = {}, s_tm1[2] = {float(in.h_tm1[v]), 0};
      s[C::states - 1] = in.last[v];
      if constexpr (C::states == 2) s_tm1[1] = in.c_tm1[v];
      if constexpr (C::saved > 0) {
#pragma unroll
        for (int k = 0; k < C::saved; ++k) saved[k] = float(in.saved[v][k]);
      }
      float past[2] = {};  // what zoneout takes past the cell
      if (a.noise.any) {
        past[0] = a.noise.kept_h(in.decided.draw(v)) * ds[0];
        past[1] = a.noise.kept_c(in.decided.draw(v)) * ds[1];
        ds[0] -= past[0];
        ds[1] -= past[1];
      }
      C::template backward<float>(saved, s_tm1, s, ds, dWx_v, dRh_v, ds_tm1);
      if (a.noise.any) {
        ds_tm1[0] = in.decided.starts() ? 0.0f : ds_tm1[0] + past[0];
        ds_tm1[1] = in.decided.starts() ? 0.0f : ds_tm1[1] + past[1];
      }
    }
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      dWx[k][v] = E(dWx_v[k]);
      dRh[k][v] = E(dRh_v[k]);
    }
    flow[v] = ds_tm1[0];
    flow[2 + v] = C::states == 2 ? ds_tm1[1] : 0;
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
  Product<P, 1, N> product(l, raw);
  const int items = l.unit_groups * N * 2 * gpu::kWarp, mine = int(threadIdx.x);
  const int chunks = (l.lanes + N * kTileLanes - 1) / (N * kTileLanes);
  float* carried = gpu::carve<float>(raw, size_t(chunks) * items * 4);  // a vector per item
  // Column `unit` of R: some rows of one gate, which are Hp apart in K.
  product.fetch_matrix(l, share, [&](int, int unit, int k) {
    Words w{};
    const int gate = k / l.Hp, first = k % l.Hp;
    if (unit >= l.H || k >= l.K) return w;
#pragma unroll
    for (int e = 0; e < product.kWide; ++e)
      if (first + e < l.H) product.put(w, e, a.R(int64_t(gate) * l.H + first + e, unit));
    return w;
  });
  for (int i = 0; i < l.T; ++i) {
    const bool here = l.backward_t(i) < share.longest;
    const bool multiplies = i > 0 ? here && l.backward_t(i - 1) < share.longest : a.followed(i);
    const bool awaited = i + 1 < l.T && here && l.backward_t(i + 1) < share.longest;
    float* carried_here = carried;
#pragma unroll 1
    for (int lane = share.lane_begin; lane < share.lane_end;
         lane += N * kTileLanes, carried_here += items * 4) {
      Item<N> item(mine, l, share, lane);
      BackwardInputs<C, E> in(a, item, i);
      if (multiplies) {
        product.multiply(l, i, [&](int first) {
          if (i > 0) return product.gather(l, share, lane, i, first);
          product.gather_rows(l, share, lane, first, [&](int b, int k) {
            const int gate = k / l.Hp;
            return k < l.K ? product.row_of(a.next.row(b) + gate * l.H, k % l.Hp, l.H, false)
                           : Words{};
          });
        });
        gpu::sync_threads();
      }
#pragma unroll 1
      for (int at = mine; at < items; at += kThreads) {
        if (at != mine) {
          item = Item<N>(at, l, share, lane);
          in = BackwardInputs<C, E>(a, item, i);
        }
        finish_item<C, P, N>(a, product, item, in, i, multiplies, awaited, carried_here + at * 4);
      }
    }
  }
}

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

int persistent_backward_blocks(const PersistentTask& task, const PersistentPlan& plan) {
  int blocks = 0;
  with_kernel(task, plan.n_tiles, [&](auto c, auto p, auto n) {
    blocks =
        gpu::blocks_per_sm(persistent_backward_kernel<decltype(c), decltype(p), decltype(n)::value>,
                           kThreads, plan.shared_bytes);
  });
  return blocks;
}

namespace {

// One pass or two; `carries` of parts, or null.
void launch_backward(const Exec& exec, const RecurrentBackward& first,
                     const RecurrentBackward* second, const BackwardCarry* carries,
                     const PersistentPlan& plan) {
  const PersistentTask task = task_of(exec, first);
  const auto layout = [&](const RecurrentBackward& a) {
    return persistent_layout(plan, task, a.dh.n[0], a.reverse, a.lengths, a.scratch);
  };
  const PersistentLayout l[2] = {layout(first), layout(second ? *second : first)};
  fill_exchanges(exec, l, second ? 2 : 1);
  with_kernel(task, plan.n_tiles, [&](auto c, auto p, auto n) {
    using P = decltype(p);
    using E = typename P::Element;
    const Passes<BackwardPass<E>> passes = {
        {backward_pass<E>(first, carries, l[0]),
         second ? backward_pass<E>(*second, carries ? carries + 1 : nullptr, l[1])
                : BackwardPass<E>{}}};
    gpu::launch(persistent_backward_kernel<decltype(c), P, decltype(n)::value>,
                persistent_launch(plan, second ? 2 : 1), exec.stream, passes);
  });
}

}  // namespace

void persistent_backward(const Exec& exec, const RecurrentBackward& first,
                         const RecurrentBackward* second, const PersistentPlan& plan) {
  launch_backward(exec, first, second, nullptr, plan);
}

void persistent_backward_parts(const Exec& exec, const RecurrentBackward* passes,
                               const BackwardCarry* carries, int count) {
  launch_backward(exec, passes[0], count == 2 ? passes + 1 : nullptr, carries,
                  require_plan(exec, task_of(exec, passes[0]), count));
}

void persistent_backward(const Exec& exec, const RecurrentBackward& a) {
  persistent_backward(exec, a, nullptr, require_plan(exec, task_of(exec, a)));
}

void persistent_backward_pair(const Exec& exec, const RecurrentBackward& first,
                              const RecurrentBackward& second) {
  persistent_backward(exec, first, &second, require_plan(exec, task_of(exec, first), 2));
}

}  // namespace unroll::cuda
