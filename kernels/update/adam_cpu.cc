// CPU body of adam.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/adam.h"

namespace unroll::cpu {

void adam(const Exec& exec, const Adam& args) {
  const double norm2 = args.norm2.as<double>()(0);
  if (!std::isfinite(norm2)) return;
  const auto& inputs = *static_cast<const UpdateInputs*>(args.inputs.data);
  with_real("adam", args.theta.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* theta = args.theta.as<T>().data;
    T* m = args.m.as<T>().data;
    T* v = args.v.as<T>().data;
    const T* g = args.g.as<T>().data;
    const T factor = T(clip_factor(inputs.clip, norm2)), decay = T(args.decay), eps = T(args.eps);
    // 1 - beta is formed in f64: in f32 most digits of 1 - 0.999 would be lost.
    const T beta1 = T(args.beta1), beta2 = T(args.beta2);
    const T rest1 = T(1 - args.beta1), rest2 = T(1 - args.beta2);
    const T rate = T(inputs.lr / (1 - std::pow(args.beta1, inputs.step)));
    const T correction2 = T(1 / (1 - std::pow(args.beta2, inputs.step)));
    const int64_t n = args.theta.n[0];
#pragma omp parallel for simd num_threads(exec.threads)
    for (int64_t i = 0; i < n; ++i) {
      const T g_i = factor * g[i] + decay * theta[i];
      m[i] = beta1 * m[i] + rest1 * g_i;
      v[i] = beta2 * v[i] + rest2 * g_i * g_i;
      theta[i] -= rate * m[i] / (std::sqrt(v[i] * correction2) + eps);
    }
  });
}

}  // namespace unroll::cpu
