// CUDA body of carry_state.
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/recurrent/carry_state.h"

namespace unroll::cuda {
namespace {

template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void carry_state_kernel(View<T, 2> y, View<const T, 2> x, const int32_t* keep) {
  for_each_tile<N>(y.n[0], y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W] = {};
    if (!keep || keep[row]) load_as_float<W>(x.row(row) + column, v);
    store_from_float<W>(y.row(row) + column, v);
  });
}

}  // namespace

void carry_state(const Exec& exec, const CarryState& args) {
  if (args.y.size() == 0) return;
  with_act("carry_state", args.y.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_width(
        [&](auto width) {
          constexpr int N = decltype(width)::value;
          gpu::launch(carry_state_kernel<T, N>, row_tiles(args.y.n[0], args.y.n[1], N), exec.stream,
                      args.y.as<T>(), args.x.as<const T>(),
                      static_cast<const int32_t*>(args.keep.data));
        },
        args.y, args.x);
  });
}

}  // namespace unroll::cuda
