// CPU bodies of the mixture of softmaxes.
#include <algorithm>
#include <cmath>

#include "kernels/base/cpu_dtype.h"
#include "kernels/heads/mixture_softmax.h"

namespace unroll::cpu {
namespace {

template <class T>
T logsumexp(const T* a, int64_t K) {
  const T top = *std::max_element(a, a + K);
  T sum = 0;
  for (int64_t k = 0; k < K; ++k) sum += std::exp(a[k] - top);
  return top + std::log(sum);
}

template <class T>
void xent(const Exec& exec, const MixtureXent& args) {
  const auto a = args.a.as<T>(), da = args.da.as<T>();
  const auto nll = args.nll.as<T>(), loss = args.loss.as<T>(), dloss = args.dloss.as<T>();
  const auto target = args.target.as<int32_t>();
  T* dnll = args.dnll.as<T>().data;
  const int64_t N = a.n[0], K = a.n[1];
#pragma omp parallel for num_threads(exec.threads)
  for (int64_t n = 0; n < N; ++n) {
    const bool scored = target(n) >= 0;
    const T* row = a.row(n);
    const T* nlls = nll.data + n * K;
    const T log_sum = logsumexp(row, K);
    T top = -INFINITY, sum = 0;
    for (int64_t k = 0; k < K; ++k) top = std::max(top, row[k] - nlls[k]);
    for (int64_t k = 0; k < K; ++k) sum += std::exp(row[k] - nlls[k] - top);
    const T joint = top + std::log(sum);
    loss(n) = scored ? log_sum - joint : T(0);
    if (!da) continue;
    const T weight = scored ? dloss(n) : T(0);
    for (int64_t k = 0; k < K; ++k) {
      const T pi = std::exp(row[k] - log_sum), r = std::exp(row[k] - nlls[k] - joint);
      da(n, k) = scored ? weight * (pi - r) : T(0);
      dnll[n * K + k] = scored ? weight * r : T(0);
    }
  }
}

}  // namespace

void mixture_targets(const Exec&, const MixtureTargets& args) {
  const auto to = args.to.as<int32_t>(), target = args.target.as<int32_t>();
  if (target.n[0] == 0) return;
  const int64_t K = to.n[0] / target.n[0];
  for (int64_t n = 0; n < target.n[0]; ++n) std::fill_n(to.data + n * K, K, target(n));
}

void mixture_xent(const Exec& exec, const MixtureXent& args) {
  with_real("mixture_xent", args.a.dtype, [&](auto zero) { xent<decltype(zero)>(exec, args); });
}

void mixture_add_expert(const Exec& exec, const MixtureAddExpert& args) {
  with_real("mixture_add_expert", args.log_p.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto log_p = args.log_p.as<T>(), expert = args.expert.as<T>(), a = args.a.as<T>();
    const int64_t N = log_p.n[0], V = log_p.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < N; ++n) {
      const T log_pi = a(n, args.k) - logsumexp(a.row(n), a.n[1]);
      for (int64_t v = 0; v < V; ++v) {
        const T term = log_pi + expert(n, v);
        if (args.k == 0) {
          log_p(n, v) = term;
          continue;
        }
        const T high = std::max(log_p(n, v), term), low = std::min(log_p(n, v), term);
        log_p(n, v) = low == -INFINITY ? high : high + std::log1p(std::exp(low - high));
      }
    }
  });
}

}  // namespace unroll::cpu
