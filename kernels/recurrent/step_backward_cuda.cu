// The fused-step schedule backward: a kernel per step adds R^T dRh of the step after it to the
// gradient of its output and computes its own dWx and dRh from that.
#include "kernels/recurrent/cell_step.cuh"
#include "kernels/recurrent/step_cuda.h"
#include "kernels/recurrent/step_product.cuh"

namespace unroll::cuda {
namespace {

template <class P>
struct Operands {
  const uint32_t* weights;      // all blocks
  const uint32_t* x;            // packed dRh of the step after
  typename P::Element* x_next;  // packed dRh of this one
  int pairs;
  bool round;
};

template <class C, class P>
GPU_KERNEL_BOUNDS(kStepThreads, 2)
void step_backward_kernel(BackwardStep<typename P::Element> a, Operands<P> op) {
  using Product = StepProduct<P, 1>;
  GPU_DYN_SHARED(raw);
  uint32_t* const shared = gpu::carve<uint32_t>(raw, Product::kSharedWords);
  const int64_t B = a.dh.n[0], H = a.dh.n[1], first_lane = int64_t(blockIdx.y) * kLanes;
  const int lane_tiles = int(B - first_lane < kLanes ? (B - first_lane + 7) / 8 : kLaneTiles);
  const int pairs = a.first ? 0 : op.pairs;  // nothing comes from beyond the last step
  Product product(shared, op.weights + blockIdx.x * block_words<P, 1>(op.pairs), pairs, lane_tiles);
  product.fetch_weights();
  // The forward pass is long over; what it left is read while the step after this one ends.
  const int64_t u = int64_t(blockIdx.x) * kUnitTile + Product::unit();
  const int64_t b = first_lane + Product::lane();
  const bool exists[2] = {u < H && b < B, u < H && b + 1 < B};
  BackwardUnit<C> in[2];
#pragma unroll
  for (int j = 0; j < 2; ++j)
    if (exists[j]) in[j].load(a, b + j, u);
  gpu::wait_for_previous();
  gpu::let_next_start();
  float sums[1][kLaneTiles][4];
  product.multiply(op.x + int64_t(blockIdx.y) * kLaneTiles * op.pairs * kTileWords, sums);
  product.spread(sums);
  float dh[2][1];
  product.gather(dh);
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    if (!exists[j]) continue;
    in[j].load_carried(a, b + j, u);
    in[j].add_from_R(a, dh[j][0]);
    typename P::Element dRh[C::gates];
    in[j].finish(a, b + j, u, dRh);
#pragma unroll
    for (int g = 0; g < C::gates; ++g)
      op.x_next[mail_index<P>(op.pairs, b + j, g * H + u)] = operand_of<P>(dRh[g], op.round);
  }
}

template <class C, class P>
void backward_all(const Exec& exec, const RecurrentBackward& a) {
  using Element = typename P::Element;
  const int64_t T_steps = a.dh.n[0], B = a.dh.n[1], H = a.dh.n[2];
  const StepScratch scratch = step_scratch(a.scratch.data, a.cell, a.h.dtype, B, H, true);
  step_pack(exec, scratch, a.cell, a.R, a.mask, {}, B, true);
  const View2 carried_h = view_of(scratch.carried_h, B, H);
  const View2 carried_c = view_of(scratch.carried_c, B, H);
  for (int64_t i = 0; i < T_steps; ++i) {
    Operands<P> op;
    op.weights = static_cast<const uint32_t*>(scratch.weights);
    op.x = static_cast<const uint32_t*>(scratch.mail[i % 2]);
    op.x_next = static_cast<Element*>(scratch.mail[(i + 1) % 2]);
    op.pairs = int(pairs_of<P>(C::gates * H));
    op.round = exec.matmul == MatmulMode::tf32;
    gpu::launch(step_backward_kernel<C, P>, step_launch<P, 1>(B, H, i > 0), exec.stream,
                backward_step<C, Element>(a, carried_h, carried_c, i), op);
  }
}

}  // namespace

void step_backward(const Exec& exec, const RecurrentBackward& args) {
  if (args.norm) return step_norm_backward(exec, args);
  with_cell(args.cell, [&](auto cell) {
    with_product(exec, args.h.dtype, [&](auto product) {
      backward_all<decltype(cell), decltype(product)>(exec, args);
    });
  });
}

}  // namespace unroll::cuda
