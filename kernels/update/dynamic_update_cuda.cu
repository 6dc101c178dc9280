// CUDA bodies of dynamic_update and accumulate_squares.
#include "kernels/update/dynamic_update.h"
#include "kernels/update/slab.cuh"

namespace unroll::cuda {
namespace {

template <int N>
GPU_KERNEL_BOUNDS(kSlabThreads, 1)
void accumulate_squares_kernel(View<float, 1> sum, const float* g) {
  for_each_slab_strip<N>(sum.n[0], [&](int64_t i, auto width) {
    constexpr int W = decltype(width)::value;
    float s[W], d[W];
    load_as_float<W>(sum.data + i, s);
    load_as_float<W>(g + i, d);
#pragma unroll
    for (int k = 0; k < W; ++k) s[k] += d[k] * d[k];
    store_from_float<W>(sum.data + i, s);
  });
}

template <int N>
GPU_KERNEL_BOUNDS(kSlabThreads, 1)
void dynamic_update_kernel(View<float, 1> theta, const float* theta_0, const float* g,
                           const float* rms, float lr, float decay, float eps) {
  for_each_slab_strip<N>(theta.n[0], [&](int64_t i, auto width) {
    constexpr int W = decltype(width)::value;
    float p[W], trained[W], d[W], r[W];
    load_as_float<W>(theta.data + i, p);
    load_as_float<W>(theta_0 + i, trained);
    load_as_float<W>(g + i, d);
    load_as_float<W>(rms + i, r);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float back = decay * r[k];
      p[k] += (back < 1.0f ? back : 1.0f) * (trained[k] - p[k]) - lr * d[k] / (r[k] + eps);
    }
    store_from_float<W>(theta.data + i, p);
  });
}

}  // namespace

void accumulate_squares(const Exec& exec, const AccumulateSquares& args) {
  require_f32("accumulate_squares", args.sum.dtype);
  if (args.sum.n[0] == 0) return;
  const bool wide = rows_aligned(args.sum) && rows_aligned(args.g);
  gpu::launch(wide ? accumulate_squares_kernel<kSlabStrip> : accumulate_squares_kernel<1>,
              slab_launch(exec, args.sum.n[0]), exec.stream, args.sum.as<float>(),
              static_cast<const float*>(args.g.data));
}

void dynamic_update(const Exec& exec, const DynamicUpdate& args) {
  require_f32("dynamic_update", args.theta.dtype);
  if (args.theta.n[0] == 0) return;
  const bool wide = rows_aligned(args.theta) && rows_aligned(args.theta_0) &&
                    rows_aligned(args.g) && rows_aligned(args.rms);
  gpu::launch(wide ? dynamic_update_kernel<kSlabStrip> : dynamic_update_kernel<1>,
              slab_launch(exec, args.theta.n[0]), exec.stream, args.theta.as<float>(),
              static_cast<const float*>(args.theta_0.data), static_cast<const float*>(args.g.data),
              static_cast<const float*>(args.rms.data), float(args.lr), float(args.decay),
              float(args.eps));
}

}  // namespace unroll::cuda
