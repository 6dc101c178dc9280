// The fused-step schedule forward: a kernel per step computes Rh = R h_tm1 and s_t from it.
#include "kernels/recurrent/cell_step.cuh"
#include "kernels/recurrent/step_cuda.h"
#include "kernels/recurrent/step_product.cuh"

namespace unroll::cuda {
namespace {

// What the kernel reads and writes besides the arrays of the pass.
template <class P>
struct Operands {
  const uint32_t* weights;      // all blocks
  const uint32_t* x;            // packed h_tm1
  typename P::Element* x_next;  // packed h_t, or what noise leaves of it
  int pairs;
  bool round;
};

template <class C, class P>
GPU_KERNEL_BOUNDS(kStepThreads, 2)
void step_forward_kernel(ForwardStep<typename P::Element> a, Operands<P> op) {
  using Product = StepProduct<P, C::gates>;
  GPU_DYN_SHARED(raw);
  uint32_t* const shared = gpu::carve<uint32_t>(raw, Product::kSharedWords);
  const int64_t B = a.h.n[0], H = a.h.n[1], first_lane = int64_t(blockIdx.y) * kLanes;
  const int lane_tiles = int(B - first_lane < kLanes ? (B - first_lane + 7) / 8 : kLaneTiles);
  Product product(shared, op.weights + blockIdx.x * block_words<P, C::gates>(op.pairs), op.pairs,
                  lane_tiles);
  product.fetch_weights();
  gpu::wait_for_previous();
  gpu::let_next_start();
  float sums[C::gates][kLaneTiles][4];
  product.multiply(op.x + int64_t(blockIdx.y) * kLaneTiles * op.pairs * kTileWords, sums);
  product.spread(sums);

  const int64_t u = int64_t(blockIdx.x) * kUnitTile + Product::unit();
  const int64_t b = first_lane + Product::lane();
  if (u >= H || b >= B) return;
  ForwardUnit<C> in[2];
  in[0].load(a, b, u);
  if (b + 1 < B) in[1].load(a, b + 1, u);
  float Rh[2][C::gates];
  product.gather(Rh);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (b + j >= B) continue;
    op.x_next[mail_index<P>(op.pairs, b + j, u)] =
        operand_of<P>(in[j].finish(a, b + j, u, Rh[j]), op.round);
  }
}

template <class C, class P>
void forward_all(const Exec& exec, const RecurrentForward& a) {
  using Element = typename P::Element;
  const int64_t T_steps = a.Wx.n[0], B = a.Wx.n[1], H = a.h.n[2];
  const StepScratch scratch = step_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, false);
  step_pack(exec, scratch, a.cell, a.R, a.mask, first_input(exec, a), B, false);
  for (int64_t i = 0; i < T_steps; ++i) {
    Operands<P> op;
    op.weights = static_cast<const uint32_t*>(scratch.weights);
    op.x = static_cast<const uint32_t*>(scratch.mail[i % 2]);
    op.x_next = static_cast<Element*>(scratch.mail[(i + 1) % 2]);
    op.pairs = int(pairs_of<P>(H));
    op.round = exec.matmul == MatmulMode::tf32;
    gpu::launch(step_forward_kernel<C, P>, step_launch<P, C::gates>(B, H, i > 0), exec.stream,
                forward_step<C, Element>(a, i), op);
  }
}

}  // namespace

void step_forward(const Exec& exec, const RecurrentForward& args) {
  if (args.norm) return step_norm_forward(exec, args);
  with_cell(args.cell, [&](auto cell) {
    with_product(exec, args.h.dtype,
                 [&](auto product) { forward_all<decltype(cell), decltype(product)>(exec, args); });
  });
}

}  // namespace unroll::cuda
