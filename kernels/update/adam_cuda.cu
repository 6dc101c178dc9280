// CUDA body of adam.
#include "kernels/base/reduce.cuh"
#include "kernels/update/adam.h"
#include "kernels/update/slab.cuh"

namespace unroll::cuda {
namespace {

struct Moments {
  double beta1, beta2;
  float eps, decay;
};

template <int N>
GPU_KERNEL_BOUNDS(kSlabThreads, 1)
void adam_kernel(View<float, 1> theta, float* m, float* v, const float* g, const double* norm2,
                 const UpdateInputs* inputs, Moments c) {
  // The powers are taken once per block, in f64.
  GPU_SHARED(rates, float[2]);
  if (threadIdx.x == 0) {
    rates[0] = float(inputs->lr / (1 - std::pow(c.beta1, inputs->step)));
    rates[1] = float(1 / (1 - std::pow(c.beta2, inputs->step)));
  }
  gpu::sync_threads();
  if (!std::isfinite(*norm2)) return;
  const float factor = float(clip_factor(inputs->clip, *norm2));
  const float rate = rates[0], correction2 = rates[1];
  // 1 - beta is formed in f64: in f32 most digits of 1 - 0.999 would be lost.
  const float beta1 = float(c.beta1), rest1 = float(1 - c.beta1);
  const float beta2 = float(c.beta2), rest2 = float(1 - c.beta2);
  for_each_slab_strip<N>(theta.n[0], [&](int64_t i, auto width) {
    constexpr int W = decltype(width)::value;
    float p[W], m_i[W], v_i[W], g_i[W];
    load_as_float<W>(theta.data + i, p);
    load_as_float<W>(m + i, m_i);
    load_as_float<W>(v + i, v_i);
    load_as_float<W>(g + i, g_i);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float d = factor * g_i[k] + c.decay * p[k];
      m_i[k] = beta1 * m_i[k] + rest1 * d;
      v_i[k] = beta2 * v_i[k] + rest2 * d * d;
      p[k] -= rate * m_i[k] / (std::sqrt(v_i[k] * correction2) + c.eps);
    }
    store_from_float<W>(theta.data + i, p);
    store_from_float<W>(m + i, m_i);
    store_from_float<W>(v + i, v_i);
  });
}

}  // namespace

void adam(const Exec& exec, const Adam& args) {
  require_f32("adam", args.theta.dtype);
  if (args.theta.n[0] == 0) return;
  const bool wide = rows_aligned(args.theta) && rows_aligned(args.m) && rows_aligned(args.v) &&
                    rows_aligned(args.g);
  const Moments c{args.beta1, args.beta2, float(args.eps), float(args.decay)};
  gpu::launch(wide ? adam_kernel<kSlabStrip> : adam_kernel<1>, slab_launch(exec, args.theta.n[0]),
              exec.stream, args.theta.as<float>(), static_cast<float*>(args.m.data),
              static_cast<float*>(args.v.data), static_cast<const float*>(args.g.data),
              static_cast<const double*>(args.norm2.data),
              static_cast<const UpdateInputs*>(args.inputs.data), c);
}

}  // namespace unroll::cuda
