// CUDA body of exchange.
#include "kernels/update/exchange.h"
#include "kernels/update/pieces.cuh"

namespace unroll::cuda {
namespace {

GPU_KERNEL_BOUNDS(kPieceThreads, 1)
void exchange_kernel(float* theta, float* other, bf16* shadow, const SlabPiece* pieces) {
  for_each_piece_strip(pieces, [&](const SlabPiece& piece, int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    const int64_t i = int64_t(piece.offset) + j;
    float now[W];
    if (other) {
      float before[W];
      load_as_float<W>(theta + i, before);
      load_as_float<W>(other + i, now);
      store_from_float<W>(theta + i, now);
      store_from_float<W>(other + i, before);
    } else {
      load_as_float<W>(theta + i, now);
    }
    store_shadow(shadow, piece, j, now);
  });
}

}  // namespace

void exchange(const Exec& exec, const Exchange& args) {
  require_f32("exchange", args.theta.dtype);
  UNROLL_CHECK(rows_aligned(args.theta) && rows_aligned(args.other) && rows_aligned(args.shadow),
               "exchange: a slab does not start on 16 bytes");
  if (args.pieces.n[0] == 0) return;
  gpu::launch(exchange_kernel, piece_launch(args.pieces.n[0]), exec.stream,
              static_cast<float*>(args.theta.data), static_cast<float*>(args.other.data),
              static_cast<bf16*>(args.shadow.data),
              static_cast<const SlabPiece*>(args.pieces.data));
}

}  // namespace unroll::cuda
