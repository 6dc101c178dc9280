// CPU body of the activation penalties.
#include "kernels/base/cpu_dtype.h"
#include "kernels/regularize/activation_penalty.h"

namespace unroll::cpu {

void activation_penalty_backward(const Exec& exec, const ActivationPenalty& args) {
  const int64_t T = args.y.n[0], B = args.y.n[1], D = args.y.n[2];
  const bool add = args.to_dy == Accumulate::add;
  with_real("activation_penalty_backward", args.y.dtype, [&](auto zero) {
    using Real = decltype(zero);
    const auto y = args.y.as<Real>(), dy = args.dy.as<Real>();
    const auto weight = args.weight.as<Real>();
    const Real ar = Real(2 * args.ar / double(D));
    const Real tar = T > 1 ? Real(2 * args.tar * double(T) / double(T - 1) / double(D)) : Real(0);
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t row = 0; row < T * B; ++row) {
      const Real* now = y.row(row);
      const Real* before = row >= B ? y.row(row - B) : now;
      const Real* after = row + B < T * B ? y.row(row + B) : now;
      const Real by_value = ar * weight(row), by_step = tar * weight(row);
      const Real by_next = row + B < T * B ? tar * weight(row + B) : Real(0);
      Real* to = dy.row(row);
      for (int64_t d = 0; d < D; ++d) {
        const Real term =
            by_value * now[d] + by_step * (now[d] - before[d]) - by_next * (after[d] - now[d]);
        to[d] = add ? to[d] + term : term;
      }
    }
  });
}

}  // namespace unroll::cpu
