// CPU body of sgd.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/sgd.h"

namespace unroll::cpu {

void sgd(const Exec& exec, const Sgd& args) {
  const double norm2 = args.norm2.as<double>()(0);
  if (!std::isfinite(norm2)) return;
  const auto& inputs = *static_cast<const UpdateInputs*>(args.inputs.data);
  with_real("sgd", args.theta.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* theta = args.theta.as<T>().data;
    const T* g = args.g.as<T>().data;
    const T lr = T(inputs.lr), factor = T(clip_factor(inputs.clip, norm2)), decay = T(args.decay);
    const int64_t n = args.theta.n[0];
#pragma omp parallel for simd num_threads(exec.threads)
    for (int64_t i = 0; i < n; ++i) theta[i] -= lr * (factor * g[i] + decay * theta[i]);
  });
}

}  // namespace unroll::cpu
