// CUDA body of add_scaled.
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/row_tiles.cuh"

namespace unroll::cuda {
namespace {

template <class Y, class X, int N, bool add>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void add_scaled_kernel(View<Y, 2> y, View<const X, 2> x, float a) {
  for_each_tile<N>(y.n[0], y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W], sum[W];
    load_as_float<W>(x.row(row) + column, v);
    if constexpr (add) load_as_float<W>(y.row(row) + column, sum);
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] = add ? sum[k] + a * v[k] : a * v[k];
    store_from_float<W>(y.row(row) + column, v);
  });
}

template <class Y, class X>
void add_typed(const Exec& exec, const AddScaled& args) {
  const auto y = args.y.as<Y>();
  const auto x = args.x.as<const X>();
  const float a = float(args.a);
  with_width(
      [&](auto width) {
        constexpr int N = decltype(width)::value;
        const gpu::Launch shape = row_tiles(y.n[0], y.n[1], N);
        if (args.to_y == Accumulate::add)
          gpu::launch(add_scaled_kernel<Y, X, N, true>, shape, exec.stream, y, x, a);
        else
          gpu::launch(add_scaled_kernel<Y, X, N, false>, shape, exec.stream, y, x, a);
      },
      args.y, args.x);
}

}  // namespace

void add_scaled(const Exec& exec, const AddScaled& args) {
  if (args.y.size() == 0) return;
  with_act("add_scaled", args.y.dtype, [&](auto y) {
    with_act("add_scaled", args.x.dtype,
             [&](auto x) { add_typed<decltype(y), decltype(x)>(exec, args); });
  });
}

}  // namespace unroll::cuda
