// CUDA body of update.
#include "kernels/update/pieces.cuh"
#include "kernels/update/rules.h"
#include "kernels/update/update.h"

namespace unroll::cuda {
namespace {

struct Slab {
  float *theta, *a, *b;
  const float* g;
  bf16* shadow;
  const SlabPiece* pieces;
};

template <class R>
GPU_DEVICE void update_slab(const Slab& slab, const RuleNumbers<float>& numbers,
                            const double* factors) {
  for_each_piece_strip(slab.pieces, [&](const SlabPiece& piece, int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    const int64_t i = int64_t(piece.offset) + j;
    float theta[W], g[W], a[W] = {}, b[W] = {};
    load_as_float<W>(slab.theta + i, theta);
    load_as_float<W>(slab.g + piece.gradient + j, g);
    if constexpr (R::kSlots > 0) load_as_float<W>(slab.a + i, a);
    if constexpr (R::kSlots > 1) load_as_float<W>(slab.b + i, b);
    const float factor = float(factors[piece.group]);
#pragma unroll
    for (int k = 0; k < W; ++k) R::step(numbers, theta[k], factor * g[k], a[k], b[k]);
    store_from_float<W>(slab.theta + i, theta);
    if constexpr (R::kSlots > 0) store_from_float<W>(slab.a + i, a);
    if constexpr (R::kSlots > 1) store_from_float<W>(slab.b + i, b);
    store_shadow(slab.shadow, piece, j, theta);
  });
}

template <class R>
GPU_KERNEL_BOUNDS(kPieceThreads, 1)
void update_kernel(Slab slab, const UpdateScales* scales, UpdateConstants constants) {
  if (scales->apply == 0) return;
  const RuleNumbers<float> numbers(*scales, constants);
  const double* factors = reinterpret_cast<const double*>(scales) + kUpdateScales;
  if constexpr (std::is_same_v<R, Rule<UpdateRule::asgd>>) {
    if (scales->mean == 0) return update_slab<Rule<UpdateRule::sgd>>(slab, numbers, factors);
  }
  update_slab<R>(slab, numbers, factors);
}

}  // namespace

void update(const Exec& exec, const Update& args) {
  require_f32("update", args.theta.dtype);
  const int slots = slots_of(args.rule);
  UNROLL_CHECK(rows_aligned(args.theta) && rows_aligned(args.g) && rows_aligned(args.shadow) &&
                   (slots < 1 || rows_aligned(args.a)) && (slots < 2 || rows_aligned(args.b)),
               "update: a slab does not start on 16 bytes");
  if (args.pieces.n[0] == 0) return;
  const Slab slab{
      static_cast<float*>(args.theta.data), static_cast<float*>(args.a.data),
      static_cast<float*>(args.b.data),     static_cast<const float*>(args.g.data),
      static_cast<bf16*>(args.shadow.data), static_cast<const SlabPiece*>(args.pieces.data)};
  with_rule(args.rule, [&](auto rule) {
    gpu::launch(update_kernel<decltype(rule)>, piece_launch(args.pieces.n[0]), exec.stream, slab,
                static_cast<const UpdateScales*>(args.scales.data), args.constants);
  });
}

}  // namespace unroll::cuda
