// CPU bodies of dynamic_update and accumulate_squares.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/dynamic_update.h"

namespace unroll::cpu {

void accumulate_squares(const Exec& exec, const AccumulateSquares& args) {
  with_real("accumulate_squares", args.sum.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* sum = args.sum.as<T>().data;
    const T* g = args.g.as<T>().data;
    const int64_t n = args.sum.n[0];
#pragma omp parallel for simd num_threads(exec.threads)
    for (int64_t i = 0; i < n; ++i) sum[i] += g[i] * g[i];
  });
}

void dynamic_update(const Exec& exec, const DynamicUpdate& args) {
  with_real("dynamic_update", args.theta.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* theta = args.theta.as<T>().data;
    const T *theta_0 = args.theta_0.as<T>().data, *g = args.g.as<T>().data,
            *rms = args.rms.as<T>().data;
    const T lr = T(args.lr), decay = T(args.decay), eps = T(args.eps);
    const int64_t n = args.theta.n[0];
#pragma omp parallel for simd num_threads(exec.threads)
    for (int64_t i = 0; i < n; ++i) {
      const T back = decay * rms[i];
      theta[i] +=
          (back < T(1) ? back : T(1)) * (theta_0[i] - theta[i]) - lr * g[i] / (rms[i] + eps);
    }
  });
}

}  // namespace unroll::cpu
