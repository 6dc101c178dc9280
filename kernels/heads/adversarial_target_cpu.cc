// CPU bodies of the adversarial softmax.
#include <cmath>

#include "kernels/base/cpu_dtype.h"
#include "kernels/heads/adversarial_row.h"
#include "kernels/heads/adversarial_target.h"

namespace unroll::cpu {
namespace {

template <class T>
T dot(const T* a, const T* b, int64_t D) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t d = 0; d < D; ++d) sum += a[d] * b[d];
  return sum;
}

}  // namespace

void adversarial_shift(const Exec& exec, const AdversarialShift& args) {
  with_real("adversarial_shift", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto x = args.x.as<T>(), W = args.W.as<T>();
    const auto shift = args.shift.as<T>();
    const auto target = args.target.as<int32_t>();
    const int64_t D = x.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < x.n[0]; ++n) {
      const int32_t y = target(n);
      const bool moved = y >= 0 && dot(x.row(n), W.row(y), D) > 0;
      shift(n) = moved ? T(args.eps) * std::sqrt(dot(x.row(n), x.row(n), D)) *
                             std::sqrt(dot(W.row(y), W.row(y), D))
                       : T(0);
    }
  });
}

void adversarial_loss(const Exec&, const AdversarialLoss& args) {
  with_real("adversarial_loss", args.nll.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto nll = args.nll.as<T>(), shift = args.shift.as<T>(), loss = args.loss.as<T>();
    for (int64_t n = 0; n < nll.n[0]; ++n)
      loss(n) = shift(n) > 0 ? adversarial_nll(nll(n), shift(n)) : nll(n);
  });
}

void adversarial_dx(const Exec& exec, const AdversarialDx& args) {
  with_real("adversarial_dx", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto x = args.x.as<T>(), dx = args.dx.as<T>();
    const auto nll = args.nll.as<T>(), shift = args.shift.as<T>(), dloss = args.dloss.as<T>();
    const int64_t D = x.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < x.n[0]; ++n) {
      const T s = shift(n);
      if (!(s > 0)) continue;
      const T length = std::sqrt(dot(x.row(n), x.row(n), D));
      const T factor = dloss(n) * adversarial_rest(nll(n), s) * (s / length) / length;
      for (int64_t d = 0; d < D; ++d) dx(n, d) += factor * x(n, d);
    }
  });
}

}  // namespace unroll::cpu
