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
#include "kernels/recurrent/persistent_product.cuh"

namespace unroll::cuda {
namespace {

template <class E>
struct BackwardPass {
  PersistentLayout l;
  View<E, 3> dWx, dRh;     // [T,B,G*H]; dRh only if the cell is split
  View<const E, 3> dh;     // [T,B,H]
  View<const E, 3> h;      // [T+1,B,H]
  View<const float, 3> c;  // [T+1,B,H]
  View<const E, 3> saved;  // [T,B,S*H]
  View<const E, 2> R;      // [G*H,H]
};

template <class C>
inline constexpr int kSaved = C::saved > 0 ? C::saved : 1;

// What the two units of an item need of the forward pass; fetched before the wait.
template <class C, class E>
struct BackwardInputs {
  E dh[2], h[2], h_tm1[2], saved[2][kSaved<C>];
  float c[2], c_tm1[2];
  bool valid;

  template <int N>
  GPU_DEVICE BackwardInputs(const BackwardPass<E>& a, const Item<N>& item, int t) {
    valid = false;
    if (!item.exists) return;
    valid = a.l.valid(t, item.b);
    const int before = a.l.reverse ? t + 1 : t, after = a.l.reverse ? t : t + 1;
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      const int unit = item.unit + v;
      dh[v] = E(0.0f);
      if (unit >= a.l.H) continue;
      dh[v] = a.dh(t, item.b, unit);
      if (!valid) continue;
      h[v] = a.h(after, item.b, unit);
      h_tm1[v] = a.h(before, item.b, unit);
      if constexpr (C::states == 2) {
        c[v] = a.c(after, item.b, unit);
        c_tm1[v] = a.c(before, item.b, unit);
      }
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
                            float* carried) {
  if (!item.exists) return;
  const int t = a.l.backward_t(i);
  float from_R[2] = {};
  gpu::Vec<float, 4> flow{};
  if (i > 0) {
    product.sums(a.l, item, 0, from_R[0], from_R[1]);
    flow = gpu::load_vec<4>(carried);
  }
  E dWx[C::gates][2], dRh[C::gates][2];
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    float ds[2] = {float(in.dh[v]), 0};
    if (i > 0) {
      ds[0] += flow[v] + from_R[v];
      ds[1] = flow[2 + v];
    }
    float dWx_v[C::gates] = {}, dRh_v[C::gates] = {}, ds_tm1[2] = {ds[0], ds[1]};
    if (in.valid && item.unit + v < a.l.H) {
      float saved[kSaved<C>] = {}, s[2] = {float(in.h[v]), 0}, s_tm1[2] = {float(in.h_tm1[v]), 0};
      if constexpr (C::states == 2) {
        s[1] = in.c[v];
        s_tm1[1] = in.c_tm1[v];
      }
      if constexpr (C::saved > 0) {
#pragma unroll
        for (int k = 0; k < C::saved; ++k) saved[k] = float(in.saved[v][k]);
      }
      C::template backward<float>(saved, s_tm1, s, ds, dWx_v, dRh_v, ds_tm1);
    }
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      dWx[k][v] = E(dWx_v[k]);
      dRh[k][v] = E(dRh_v[k]);
    }
    flow[v] = ds_tm1[0];
    flow[2 + v] = C::states == 2 ? ds_tm1[1] : 0;
  }
  // The gradient of the carried-in state is nobody's.
  if (i + 1 < a.l.T) {
    uint32_t* entry = a.l.entry(i);
#pragma unroll
    for (int k = 0; k < C::gates; ++k)
      publish<P>(a.l, entry, k * a.l.Hp + item.unit, item.b, C::split ? dRh[k] : dWx[k]);
    gpu::store_vec(carried, flow);
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
    const int t = l.backward_t(i);
    float* carried_here = carried;
#pragma unroll 1
    for (int lane = share.lane_begin; lane < share.lane_end;
         lane += N * kTileLanes, carried_here += items * 4) {
      Item<N> item(mine, l, share, lane);
      BackwardInputs<C, E> in(a, item, t);
      if (i > 0) {
        product.gather(l, share, lane, i);
        product.multiply(l, i);
        gpu::sync_threads();
      }
#pragma unroll 1
      for (int at = mine; at < items; at += kThreads) {
        if (at != mine) {
          item = Item<N>(at, l, share, lane);
          in = BackwardInputs<C, E>(a, item, t);
        }
        finish_item<C, P, N>(a, product, item, in, i, carried_here + at * 4);
      }
    }
  }
}

template <class E>
BackwardPass<E> backward_pass(const RecurrentBackward& a, const PersistentLayout& l) {
  BackwardPass<E> pass{};
  pass.l = l;
  pass.dWx = a.dWx.as<E>();
  if (a.dRh) pass.dRh = a.dRh.as<E>();
  pass.dh = a.dh.as<const E>();
  pass.h = a.h.as<const E>();
  if (a.c) pass.c = a.c.as<const float>();
  if (a.saved) pass.saved = a.saved.as<const E>();
  pass.R = a.R.as<const E>();
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

void persistent_backward(const Exec& exec, const RecurrentBackward& first,
                         const RecurrentBackward* second, const PersistentPlan& plan) {
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
        {backward_pass<E>(first, l[0]), backward_pass<E>(second ? *second : first, l[1])}};
    gpu::launch(persistent_backward_kernel<decltype(c), P, decltype(n)::value>,
                persistent_launch(plan, second ? 2 : 1), exec.stream, passes);
  });
}

void persistent_backward(const Exec& exec, const RecurrentBackward& a) {
  persistent_backward(exec, a, nullptr, require_plan(exec, task_of(exec, a)));
}

void persistent_backward_pair(const Exec& exec, const RecurrentBackward& first,
                              const RecurrentBackward& second) {
  persistent_backward(exec, first, &second, require_plan(exec, task_of(exec, first), 2));
}

}  // namespace unroll::cuda
