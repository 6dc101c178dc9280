// CUDA body of sgd.
#include "kernels/update/sgd.h"
#include "kernels/update/slab.cuh"

namespace unroll::cuda {
namespace {

template <int N>
GPU_KERNEL_BOUNDS(kSlabThreads, 1)
void sgd_kernel(View<float, 1> theta, const float* g, const double* norm2,
                const UpdateInputs* inputs, float decay) {
  if (!std::isfinite(*norm2)) return;
  const float lr = float(inputs->lr), factor = float(clip_factor(inputs->clip, *norm2));
  for_each_slab_strip<N>(theta.n[0], [&](int64_t i, auto width) {
    constexpr int W = decltype(width)::value;
    float p[W], d[W];
    load_as_float<W>(theta.data + i, p);
    load_as_float<W>(g + i, d);
#pragma unroll
    for (int k = 0; k < W; ++k) p[k] -= lr * (factor * d[k] + decay * p[k]);
    store_from_float<W>(theta.data + i, p);
  });
}

}  // namespace

void sgd(const Exec& exec, const Sgd& args) {
  require_f32("sgd", args.theta.dtype);
  if (args.theta.n[0] == 0) return;
  const bool wide = rows_aligned(args.theta) && rows_aligned(args.g);
  gpu::launch(wide ? sgd_kernel<kSlabStrip> : sgd_kernel<1>, slab_launch(exec, args.theta.n[0]),
              exec.stream, args.theta.as<float>(), static_cast<const float*>(args.g.data),
              static_cast<const double*>(args.norm2.data),
              static_cast<const UpdateInputs*>(args.inputs.data), float(args.decay));
}

}  // namespace unroll::cuda
