// The output layer in double, as its equations read: one row at a time, nothing shared with the
// product.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace unroll::test {

struct HeadOptions {
  double smoothing = 0, z_loss = 0, cap = 0;
};

struct HeadOracle {
  std::vector<double> loss;   // [N]
  std::vector<double> dx;     // [N,D]
  std::vector<double> dW;     // [V,D]
  std::vector<double> db;     // [V]
  std::vector<double> log_p;  // [N,V]
};

// x [N,D], W [V,D], b [V] or empty, target [N] with negative entries ignored, dloss [N].
inline HeadOracle head_oracle(int64_t N, int64_t D, int64_t V, const std::vector<double>& x,
                              const std::vector<double>& W, const std::vector<double>& b,
                              const std::vector<double>& target, const std::vector<double>& dloss,
                              const HeadOptions& options = {}) {
  HeadOracle out;
  out.loss.assign(size_t(N), 0);
  out.dx.assign(size_t(N * D), 0);
  out.dW.assign(size_t(V * D), 0);
  out.db.assign(size_t(V), 0);
  out.log_p.assign(size_t(N * V), 0);
  for (int64_t n = 0; n < N; ++n) {
    double* z = &out.log_p[size_t(n * V)];
    double top = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < V; ++v) {
      z[v] = b.empty() ? 0 : b[size_t(v)];
      for (int64_t d = 0; d < D; ++d) z[v] += W[size_t(v * D + d)] * x[size_t(n * D + d)];
      if (options.cap > 0) z[v] = options.cap * std::tanh(z[v] / options.cap);
      if (z[v] > top) top = z[v];
    }
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) sum += std::exp(z[v] - top);
    const double lse = top + std::log(sum);
    for (int64_t v = 0; v < V; ++v) z[v] -= lse;
    if (target[size_t(n)] < 0) continue;
    const double share = options.smoothing / double(V);
    const int64_t true_class = int64_t(target[size_t(n)]);
    out.loss[size_t(n)] = -(1 - options.smoothing) * z[true_class] + options.z_loss * lse * lse;
    for (int64_t v = 0; v < V; ++v) {
      if (share > 0) out.loss[size_t(n)] -= share * z[v];
      const double q = share + (v == true_class ? 1 - options.smoothing : 0);
      double dz = dloss[size_t(n)] * ((1 + 2 * options.z_loss * lse) * std::exp(z[v]) - q);
      if (options.cap > 0) {
        const double ratio = (z[v] + lse) / options.cap;  // z is log p by now
        dz *= 1 - ratio * ratio;
      }
      out.db[size_t(v)] += dz;
      for (int64_t d = 0; d < D; ++d) {
        out.dx[size_t(n * D + d)] += dz * W[size_t(v * D + d)];
        out.dW[size_t(v * D + d)] += dz * x[size_t(n * D + d)];
      }
    }
  }
  return out;
}

}  // namespace unroll::test
