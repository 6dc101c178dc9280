// CUDA body of row_dropout.
#include "kernels/base/philox.h"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/regularize/row_dropout.h"

namespace unroll::cuda {
namespace {

struct Draw {
  const uint64_t* counter;
  uint32_t op, threshold;
  float scale;
};

template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void row_dropout_kernel(View<T, 2> y, View<const T, 2> x, const int32_t* ids, Draw draw) {
  for_each_tile<N>(y.n[0], y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    const int32_t id = ids[row];
    float factor = 0;
    if (id >= 0) {
      const Philox4 words =
          philox_block(draw.counter[0], draw.counter[1], draw.op, uint64_t(id / 4));
#pragma unroll
      for (int i = 0; i < 4; ++i)
        if (i == id % 4 && words.v[i] >= draw.threshold) factor = draw.scale;
    }
    float v[W];
    load_as_float<W>(x.row(row) + column, v);
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] = factor == 0 ? 0.0f : v[k] * factor;
    store_from_float<W>(y.row(row) + column, v);
  });
}

}  // namespace

void row_dropout(const Exec& exec, const RowDropout& args) {
  if (args.y.size() == 0) return;
  with_act("row_dropout", args.y.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Draw draw = {static_cast<const uint64_t*>(args.key.counter.data), args.key.op,
                       dropout_threshold(args.p), float(1 / (1 - args.p))};
    with_width(
        [&](auto width) {
          constexpr int N = decltype(width)::value;
          gpu::launch(row_dropout_kernel<T, N>, row_tiles(args.y.n[0], args.y.n[1], N), exec.stream,
                      args.y.as<T>(), args.x.as<const T>(),
                      static_cast<const int32_t*>(args.ids.data), draw);
        },
        args.y, args.x);
  });
}

}  // namespace unroll::cuda
