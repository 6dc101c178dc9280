// The fused-step schedule with layer normalisation. The statistics of a lane span all blocks of the
// product, so a step is two kernels, each started early (gpu::Launch::early_start):
//
//   product   R h_tm1, or backward R^T dRh of the step after this one, as in every fused step
//             (step_product.cuh); fetches R while the lanes of the step before are still at work
//   lanes     everything else, a block to each lane (loop_norm_cuda.h); fetches what the step before
//             does not write while the product is still running, and packs the next product's vector
//
// What a step costs besides the product and the gap before it, by estimate, for an LSTM in bf16 with
// B = 20, H = 1150 on an H200, where a gap after an early start is 0.5 us, a grid barrier 1 us and a
// round trip to L2 0.3 us. The product's 72 blocks hold 16 units each:
//
//                             kernels  barriers  from L2            us
//   one cooperative kernel          1     2 + 2  2 x 72 x 14 KB     2 x (1 + 0.3 + 0.1) = 2.8
//   a kernel to each reduction      3         -  2.0 + 0.7 MB       2 x (0.5 + 0.3 + 0.2) = 2.0
//   a block to each lane            2         -  0.7 MB             0.5 + 0.3 + 0.16 + 0.5 = 1.5
//
// Of an LSTM both passes have two reductions a step, each over all units of a lane. Spread over the
// product's blocks, every block reads the partial sums of all of them for its lanes, 72 x 24 x 8 B,
// and each reduction costs a barrier or a gap; a cooperative grid cannot start early and has to fit
// on the device at once, which bounds B H. With a block to each lane the products pass through L2,
// written and read once, 18 KB to a multiprocessor or 0.16 us, and a reduction is a barrier of the
// block, all of them about 0.5 us with the cell. The share of a multiprocessor grows with H, the
// product with H^2. Not measured.
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/loop_norm_cuda.h"
#include "kernels/recurrent/recurrent_scratch.h"
#include "kernels/recurrent/step_cuda.h"
#include "kernels/recurrent/step_product.cuh"

namespace unroll::cuda {
namespace {

// y[b, m H + u] = sum_k W[m,u,k] x[b,k] for m = 0..M-1.
template <class P, int M>
GPU_KERNEL_BOUNDS(kStepThreads, 2)
void step_product_kernel(View<float, 2> y, const uint32_t* weights, const uint32_t* x, int pairs) {
  using Product = StepProduct<P, M>;
  GPU_DYN_SHARED(raw);
  uint32_t* const shared = gpu::carve<uint32_t>(raw, Product::kSharedWords);
  const int64_t B = y.n[0], H = y.n[1] / M, first_lane = int64_t(blockIdx.y) * kLanes;
  const int lane_tiles = int(B - first_lane < kLanes ? (B - first_lane + 7) / 8 : kLaneTiles);
  Product product(shared, weights + blockIdx.x * block_words<P, M>(pairs), pairs, lane_tiles);
  product.fetch_weights();
  gpu::wait_for_previous();
  gpu::let_next_start();
  float sums[M][kLaneTiles][4];
  product.multiply(x + int64_t(blockIdx.y) * kLaneTiles * pairs * kTileWords, sums);
  product.spread(sums);

  const int64_t u = int64_t(blockIdx.x) * kUnitTile + Product::unit();
  const int64_t b = first_lane + Product::lane();
  if (u >= H || b >= B) return;
  float mine[2][M];
  product.gather(mine);
#pragma unroll
  for (int m = 0; m < M; ++m) {
    y(b, m * H + u) = mine[0][m];
    if (b + 1 < B) y(b + 1, m * H + u) = mine[1][m];
  }
}

// One vector serves all steps: the product that reads it has ended when the lanes write it anew.
template <class P, int M>
void multiply(const Exec& exec, const View2& y, const StepScratch& scratch, int64_t K, bool early) {
  gpu::launch(step_product_kernel<P, M>, step_launch<P, M>(y.n[0], y.n[1] / M, early), exec.stream,
              y.as<float>(), static_cast<const uint32_t*>(scratch.weights),
              static_cast<const uint32_t*>(scratch.mail[0]), int(pairs_of<P>(K)));
}

}  // namespace

void step_norm_forward(const Exec& exec, const RecurrentForward& a) {
  const int64_t T = a.Wx.n[0], B = a.Wx.n[1], GH = a.Wx.n[2], H = a.h.n[2];
  const RecurrentScratch common = recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, true);
  const StepScratch own = step_scratch(common.rest, a.cell, a.h.dtype, B, H, false);
  const View2 Rh = view_of(common.Rh, DType::f32, B, GH);
  step_pack(exec, own, a.cell, a.R, a.mask, first_input(exec, a), B, false);
  with_cell(a.cell, [&](auto cell) {
    with_product(exec, a.h.dtype, [&](auto product) {
      for (int64_t i = 0; i < T; ++i) {
        multiply<decltype(product), decltype(cell)::gates>(exec, Rh, own, H, i > 0);
        normed_forward_step(exec, a, Rh, i, {.mail = own.mail[0], .early_start = true});
      }
    });
  });
}

void step_norm_backward(const Exec& exec, const RecurrentBackward& a) {
  const int64_t T = a.dh.n[0], B = a.dh.n[1], GH = a.dWx.n[2], H = a.dh.n[2];
  const RecurrentScratch common = recurrent_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, true);
  const StepScratch own = step_scratch(common.rest, a.cell, a.h.dtype, B, H, true);
  const View2 from_R = view_of(common.Rh, DType::f32, B, H);
  step_pack(exec, own, a.cell, a.R, a.mask, {}, B, true);
  with_product(exec, a.h.dtype, [&](auto product) {
    for (int64_t i = 0; i < T; ++i) {
      // Nothing comes from beyond the last step.
      if (i > 0) multiply<decltype(product), 1>(exec, from_R, own, GH, true);
      normed_backward_step(exec, a, from_R, i, {.mail = own.mail[0], .early_start = i > 0});
    }
  });
}

}  // namespace unroll::cuda
