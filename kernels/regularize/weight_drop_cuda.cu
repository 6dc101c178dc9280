// CUDA bodies of weight drop. A warp takes 128 columns of a row: each lane draws the four words of
// one Philox block, then the lanes exchange decisions, so that loads, stores and words of bits are
// those of 32 neighbouring columns whatever the rows' alignment. Without a copy the bits are all that
// it writes, 1/8 of a byte for an element, and drawing them is what takes its time.
#include "kernels/base/philox.h"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/regularize/weight_drop.h"

namespace unroll::cuda {
namespace {

constexpr int kColumns = 4;  // of a lane

struct Draw {
  const uint64_t* counter;
  uint32_t op, threshold;
  float scale;
};

template <class Y>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void weight_drop_kernel(View<Y, 2> y, View<uint32_t, 2> bits, View<const float, 2> x, Draw draw) {
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  const int64_t D = x.n[1], row_blocks = (D + 3) / 4;
  const int64_t first = int64_t(blockIdx.x) * gpu::kWarp * kColumns;
  for (int64_t row = int64_t(blockIdx.y) * kTileRows + warp; row < x.n[0];
       row += int64_t(gridDim.y) * kTileRows) {
    const Philox4 words = philox_block(draw.counter[0], draw.counter[1], draw.op,
                                       uint64_t(row * row_blocks + first / 4 + lane));
    uint32_t mine = 0;  // of columns first + 4 lane and the three after it
#pragma unroll
    for (int i = 0; i < kColumns; ++i) mine |= uint32_t(words.v[i] >= draw.threshold) << i;
#pragma unroll
    for (int j = 0; j < kColumns; ++j) {
      const uint32_t drawn =
          gpu::shfl(gpu::kFullMask, mine, j * (gpu::kWarp / kColumns) + lane / kColumns);
      const int64_t column = first + j * gpu::kWarp + lane;
      const bool kept = column < D && (drawn >> (lane % kColumns) & 1u);
      const uint32_t word = gpu::ballot(gpu::kFullMask, kept);
      if (y && column < D) y(row, column) = Y(kept ? x(row, column) * draw.scale : 0.0f);
      if (lane == 0 && column < D) bits(row, column / gpu::kWarp) = word;
    }
  }
}

template <bool add>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void weight_drop_gradient_kernel(View<float, 2> dx, View<const float, 2> dy,
                                 View<const uint32_t, 2> bits, float scale) {
  for_each_tile<1>(dx.n[0], dx.n[1], [&](int64_t row, int64_t column, auto) {
    const bool kept = bits(row, column / 32) >> (column % 32) & 1u;
    const float term = kept ? dy(row, column) * scale : 0.0f;
    dx(row, column) = add ? dx(row, column) + term : term;
  });
}

}  // namespace

void weight_drop_forward(const Exec& exec, const WeightDrop& args) {
  if (args.x.size() == 0) return;
  with_act("weight_drop_forward", args.y ? args.y.dtype : DType::f32, [&](auto zero) {
    using Y = decltype(zero);
    const Draw draw = {static_cast<const uint64_t*>(args.key.counter.data), args.key.op,
                       dropout_threshold(args.p), float(1 / (1 - args.p))};
    gpu::launch(weight_drop_kernel<Y>, row_tiles(args.x.n[0], args.x.n[1], kColumns), exec.stream,
                args.y.as<Y>(), args.bits.as<uint32_t>(), args.x.as<const float>(), draw);
  });
}

void weight_drop_backward(const Exec& exec, const WeightDropBackward& args) {
  require_f32("weight_drop_backward", args.dx.dtype);
  if (args.dx.size() == 0) return;
  const auto kernel = args.to_dx == Accumulate::add ? weight_drop_gradient_kernel<true>
                                                    : weight_drop_gradient_kernel<false>;
  gpu::launch(kernel, row_tiles(args.dx.n[0], args.dx.n[1], 1), exec.stream, args.dx.as<float>(),
              args.dy.as<const float>(), args.bits.as<const uint32_t>(), float(1 / (1 - args.p)));
}

}  // namespace unroll::cuda
