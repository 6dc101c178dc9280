// CUDA bodies of bias_act and column_sum.
#include "kernels/base/math.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/elementwise/row_tiles.cuh"

namespace unroll::cuda {
namespace {

template <Activation act>
GPU_DEVICE float apply(float x) {
  if constexpr (act == Activation::tanh) return tanh_of(x);
  if constexpr (act == Activation::relu) return relu(x);
  return x;
}
template <Activation act>
GPU_DEVICE float slope(float y) {
  if constexpr (act == Activation::tanh) return tanh_slope(y);
  if constexpr (act == Activation::relu) return is_positive(y) ? 1.0f : 0.0f;
  return 1.0f;
}

template <class T, int N, Activation act>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void bias_act_kernel(View<T, 2> y, View<const T, 2> x, const float* b) {
  for_each_tile<N>(y.n[0], y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W], bias[W] = {};
    load_as_float<W>(x.row(row) + column, v);
    if (b) load_as_float<W>(b + column, bias);
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] = apply<act>(v[k] + bias[k]);
    store_from_float<W>(y.row(row) + column, v);
  });
}

template <class T, int N, Activation act>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void bias_act_backward_kernel(View<T, 2> dx, View<const T, 2> dy, View<const T, 2> y) {
  for_each_tile<N>(dx.n[0], dx.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W], out[W] = {};
    load_as_float<W>(dy.row(row) + column, v);
    if constexpr (act != Activation::none) load_as_float<W>(y.row(row) + column, out);
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] *= slope<act>(out[k]);
    store_from_float<W>(dx.row(row) + column, v);
  });
}

// A block sums 32 neighbouring columns: warp w takes rows w, w + 32, ..; the 32 partial sums of a
// column are then added in the order of the warps. The order depends on the number of rows only.
constexpr int kSumWarps = 32;
template <class T>
GPU_KERNEL_BOUNDS(kSumWarps* gpu::kWarp, 1)
void column_sum_kernel(float* sum, View<const T, 2> x, bool add) {
  GPU_SHARED(partial, float[kSumWarps][gpu::kWarp]);
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  const int64_t column = int64_t(blockIdx.x) * gpu::kWarp + lane;
  float mine = 0;
  if (column < x.n[1]) {
    const T* p = x.data + column;
#pragma unroll 8
    for (int64_t row = warp; row < x.n[0]; row += kSumWarps) mine += float(p[row * x.ld]);
  }
  partial[warp][lane] = mine;
  gpu::sync_threads();
  if (warp == 0 && column < x.n[1]) {
    float total = 0;
    for (int w = 0; w < kSumWarps; ++w) total += partial[w][lane];
    sum[column] = add ? sum[column] + total : total;
  }
}

template <class Body>
void with_activation(Activation act, Body&& body) {
  switch (act) {
    case Activation::none:
      return body(std::integral_constant<Activation, Activation::none>{});
    case Activation::tanh:
      return body(std::integral_constant<Activation, Activation::tanh>{});
    case Activation::relu:
      return body(std::integral_constant<Activation, Activation::relu>{});
  }
}

}  // namespace

void bias_act_forward(const Exec& exec, const BiasAct& args) {
  if (args.y.size() == 0) return;
  with_act("bias_act_forward", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_activation(args.act, [&](auto act) {
      with_width(
          [&](auto width) {
            constexpr int N = decltype(width)::value;
            gpu::launch(bias_act_kernel<T, N, decltype(act)::value>,
                        row_tiles(args.y.n[0], args.y.n[1], N), exec.stream, args.y.as<T>(),
                        args.x.as<const T>(), static_cast<const float*>(args.b.data));
          },
          args.y, args.x, args.b);
    });
  });
}

void bias_act_backward(const Exec& exec, const BiasActBackward& args) {
  if (args.dx.size() == 0) return;
  with_act("bias_act_backward", args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const View2 y = args.act == Activation::none ? args.dy : args.y;
    with_activation(args.act, [&](auto act) {
      with_width(
          [&](auto width) {
            constexpr int N = decltype(width)::value;
            gpu::launch(bias_act_backward_kernel<T, N, decltype(act)::value>,
                        row_tiles(args.dx.n[0], args.dx.n[1], N), exec.stream, args.dx.as<T>(),
                        args.dy.as<const T>(), y.as<const T>());
          },
          args.dx, args.dy, y);
    });
  });
}

void column_sum(const Exec& exec, const ColumnSum& args) {
  const int64_t D = args.sum.n[0];
  if (D == 0) return;
  with_act("column_sum", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    gpu::Launch shape;
    shape.grid.x = unsigned((D + gpu::kWarp - 1) / gpu::kWarp);
    shape.block.x = kSumWarps * gpu::kWarp;
    gpu::launch(column_sum_kernel<T>, shape, exec.stream, static_cast<float*>(args.sum.data),
                args.x.as<const T>(), args.to_sum == Accumulate::add);
  });
}

}  // namespace unroll::cuda
