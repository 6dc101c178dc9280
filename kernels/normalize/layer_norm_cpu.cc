// CPU bodies of layer normalisation. The statistics of a row are summed in f64.
#include <algorithm>
#include <cmath>

#include "kernels/base/cpu_dtype.h"
#include "kernels/normalize/layer_norm.h"

namespace unroll::cpu {

void layer_norm_forward(const Exec& exec, const LayerNorm& a) {
  with_real("layer_norm_forward", a.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto y = a.y.as<T>(), x = a.x.as<T>(), x_hat = a.x_hat.as<T>();
    const T *g = a.g.as<T>().data, *b = a.b.as<T>().data;
    T* const rstd = a.rstd.as<T>().data;
    const int64_t D = x.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < x.n[0]; ++n) {
      const T* const in = x.row(n);
      T *const out = y.row(n), *const hat = x_hat ? x_hat.row(n) : nullptr;
      double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t d = 0; d < D; ++d) sum += double(in[d]);
      const T mean = T(sum / double(D));
#pragma omp simd reduction(+ : squares)
      for (int64_t d = 0; d < D; ++d) squares += double(in[d] - mean) * double(in[d] - mean);
      const T r = T(1) / std::sqrt(T(squares / double(D)) + T(a.eps));
      if (hat) rstd[n] = r;
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) {
        const T normal = (in[d] - mean) * r;
        if (hat) hat[d] = normal;
        out[d] = g[d] * normal + (b ? b[d] : T(0));
      }
    }
  });
}

void layer_norm_backward(const Exec& exec, const LayerNormBackward& a) {
  with_real("layer_norm_backward", a.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto dx = a.dx.as<T>(), dy = a.dy.as<T>(), x_hat = a.x_hat.as<T>();
    const T *const g = a.g.as<T>().data, *const rstd = a.rstd.as<T>().data;
    const int64_t D = dy.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < dy.n[0]; ++n) {
      const T *const in = dy.row(n), *const hat = x_hat.row(n);
      T* const out = dx.row(n);
      double sum = 0, sum_hat = 0;
#pragma omp simd reduction(+ : sum, sum_hat)
      for (int64_t d = 0; d < D; ++d) {
        const double v = double(g[d] * in[d]);
        sum += v;
        sum_hat += v * double(hat[d]);
      }
      const T mean = T(sum / double(D)), mean_hat = T(sum_hat / double(D)), r = rstd[n];
#pragma omp simd
      for (int64_t d = 0; d < D; ++d) out[d] = r * (g[d] * in[d] - mean - hat[d] * mean_hat);
    }
  });
}

void layer_norm_gain_gradient(const Exec& exec, const LayerNormGain& a) {
  constexpr int64_t kColumns = 256;  // of one task; the partial sums stay in the first-level cache
  with_real("layer_norm_gain_gradient", a.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto dy = a.dy.as<T>(), x_hat = a.x_hat.as<T>();
    T* const dg = a.dg.as<T>().data;
    const int64_t D = dy.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t first = 0; first < D; first += kColumns) {
      const int64_t count = std::min(kColumns, D - first);
      T* const sum = dg + first;
      if (a.to_dg == Accumulate::overwrite) std::fill_n(sum, count, T(0));
      for (int64_t n = 0; n < dy.n[0]; ++n) {
        const T *const d = dy.row(n) + first, *const hat = x_hat.row(n) + first;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) sum[i] += d[i] * hat[i];
      }
    }
  });
}

}  // namespace unroll::cpu
