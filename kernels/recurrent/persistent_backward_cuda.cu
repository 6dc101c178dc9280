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

struct BackwardPass {
  PersistentLayout l;
  View<bf16, 3> dWx, dRh;     // [T,B,G*H]; dRh only if the cell is split
  View<const bf16, 3> dh;     // [T,B,H]
  View<const bf16, 3> h;      // [T+1,B,H]
  View<const float, 3> c;     // [T+1,B,H]
  View<const bf16, 3> saved;  // [T,B,S*H]
  View<const bf16, 2> R;      // [G*H,H]
};

template <class C>
inline constexpr int kSaved = C::saved > 0 ? C::saved : 1;

// What the two units of an item need of the forward pass; fetched before the wait.
template <class C>
struct BackwardInputs {
  bf16 dh[2], h[2], h_tm1[2], saved[2][kSaved<C>];
  float c[2], c_tm1[2];
  bool valid;

  template <int N>
  GPU_DEVICE BackwardInputs(const BackwardPass& a, const Item<N>& item, int t) {
    valid = false;
    if (!item.exists) return;
    valid = a.l.valid(t, item.b);
    const int before = a.l.reverse ? t + 1 : t, after = a.l.reverse ? t : t + 1;
#pragma unroll
    for (int v = 0; v < 2; ++v) {
      const int unit = item.unit + v;
      dh[v] = bf16(0.0f);
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
template <class C, int N>
GPU_DEVICE void finish_item(const BackwardPass& a, const Product<1, N>& product,
                            const Item<N>& item, const BackwardInputs<C>& in, int i,
                            float* carried) {
  if (!item.exists) return;
  const int t = a.l.backward_t(i);
  float from_R[2] = {};
  gpu::Vec<float, 4> flow{};
  if (i > 0) {
    product.sums(a.l, item, 0, from_R[0], from_R[1]);
    flow = gpu::load_vec<4>(carried);
  }
  bf16 dWx[2][C::gates], dRh[2][C::gates];
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
      dWx[v][k] = bf16(dWx_v[k]);
      dRh[v][k] = bf16(dRh_v[k]);
    }
    flow[v] = ds_tm1[0];
    flow[2 + v] = C::states == 2 ? ds_tm1[1] : 0;
  }
  // The gradient of the carried-in state is nobody's.
  if (i + 1 < a.l.T) {
    uint32_t* entry = a.l.entry(i);
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      const bf16(&d)[2][C::gates] = C::split ? dRh : dWx;
      publish(a.l, entry, k * a.l.Hp + item.unit, item.b, d[0][k], d[1][k]);
    }
    gpu::store_vec(carried, flow);
  }
#pragma unroll
  for (int v = 0; v < 2; ++v) {
    if (item.unit + v >= a.l.H) continue;
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      const int row = k * a.l.H + item.unit + v;
      a.dWx(t, item.b, row) = dWx[v][k];
      if constexpr (C::split) a.dRh(t, item.b, row) = dRh[v][k];
    }
  }
}

template <class C, int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void persistent_backward_kernel(BackwardPass a) {
  GPU_DYN_SHARED(raw);
  const PersistentLayout& l = a.l;
  const BlockShare share(l);
  Product<1, N> product(l, raw);
  const int items = l.unit_groups * N * 2 * gpu::kWarp, mine = int(threadIdx.x);
  const int chunks = (l.lanes + N * kTileLanes - 1) / (N * kTileLanes);
  float* carried = gpu::carve<float>(raw, size_t(chunks) * items * 4);  // a vector per item
  // Column `unit` of R: eight rows of one gate, which are Hp apart in K.
  product.fetch_matrix(l, share, [&](int, int unit, int k) {
    Words w{};
    const int gate = k / l.Hp, first = k % l.Hp;
    if (unit >= l.H || k >= l.K) return w;
#pragma unroll
    for (int e = 0; e < 8; ++e) {
      const uint32_t bits = first + e < l.H ? a.R(int64_t(gate) * l.H + first + e, unit).bits : 0u;
      w[e / 2] |= bits << 16 * (e % 2);
    }
    return w;
  });
  for (int i = 0; i < l.T; ++i) {
    const int t = l.backward_t(i);
    float* carried_here = carried;
#pragma unroll 1
    for (int lane = share.lane_begin; lane < share.lane_end;
         lane += N * kTileLanes, carried_here += items * 4) {
      Item<N> item(mine, l, share, lane);
      BackwardInputs<C> in(a, item, t);
      if (i > 0) {
        product.gather(l, share, lane, i);
        product.multiply(l);
        gpu::sync_threads();
      }
#pragma unroll 1
      for (int at = mine; at < items; at += kThreads) {
        if (at != mine) {
          item = Item<N>(at, l, share, lane);
          in = BackwardInputs<C>(a, item, t);
        }
        finish_item<C, N>(a, product, item, in, i, carried_here + at * 4);
      }
    }
  }
}

}  // namespace

int persistent_backward_blocks(Cell cell, const PersistentPlan& plan) {
  int blocks = 0;
  with_cell(cell, [&](auto c) {
    blocks = with_tiles(plan.n_tiles, [&](auto n) {
      return gpu::blocks_per_sm(persistent_backward_kernel<decltype(c), decltype(n)::value>,
                                kThreads, plan.shared_bytes);
    });
  });
  return blocks;
}

void persistent_backward(const Exec& exec, const RecurrentBackward& a, const PersistentPlan& plan) {
  const int64_t T = a.dh.n[0], B = a.dh.n[1], H = a.dh.n[2];
  BackwardPass pass{};
  pass.l = prepare_persistent(exec, plan, a.reverse, T, B, H, a.lengths, a.scratch);
  pass.dWx = a.dWx.as<bf16>();
  if (a.dRh) pass.dRh = a.dRh.as<bf16>();
  pass.dh = a.dh.as<const bf16>();
  pass.h = a.h.as<const bf16>();
  if (a.c) pass.c = a.c.as<const float>();
  if (a.saved) pass.saved = a.saved.as<const bf16>();
  pass.R = a.R.as<const bf16>();
  with_cell(a.cell, [&](auto c) {
    with_tiles(plan.n_tiles, [&](auto n) {
      gpu::launch(persistent_backward_kernel<decltype(c), decltype(n)::value>,
                  persistent_launch(plan), exec.stream, pass);
    });
  });
}

void persistent_backward(const Exec& exec, const RecurrentBackward& a) {
  const PersistentTask task = {a.cell, true, a.h.n[1], a.h.n[2]};
  persistent_backward(exec, a, require_plan(exec, task, a.h.dtype));
}

}  // namespace unroll::cuda
