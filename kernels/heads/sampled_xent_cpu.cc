// CPU body of the losses over samples: products by BLAS, and one visit of each row of scores.
#include <algorithm>
#include <cmath>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/fast_math.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/sampled_xent.h"

namespace unroll::cpu {
namespace {

// log(1 + e^x) and the logistic function, without overflow.
template <class T>
T softplus(T x) {
  return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
}
template <class T>
T logistic(T x) {
  const T e = std::exp(-std::abs(x));
  return (x < 0 ? e : T(1)) / (T(1) + e);
}

template <class T>
struct Row {
  T* z;      // [S]: scores without bias and correction in, dz out
  T z_true;  // with bias, and for nce with the correction
  T weight;  // dloss
  int32_t target;
};

// The loss; dz of the samples in z, dz of the target in *dz_true.
template <class T>
T softmax_row(const Row<T>& r, const T* shift, const int32_t* ids, int64_t S, T* dz_true) {
  T top = r.z_true;
  for (int64_t s = 0; s < S; ++s) {
    r.z[s] = ids[s] == r.target ? T(-INFINITY) : r.z[s] + shift[s];
    top = r.z[s] > top ? r.z[s] : top;
  }
  double sum = std::exp(double(r.z_true) - double(top));
  T part = 0;
  for (int64_t s = 0; s < S; ++s) {
    r.z[s] = fast_exp(r.z[s] - top);
    part += r.z[s];
    if (s % 1024 == 1023 || s + 1 == S) {
      sum += double(part);
      part = 0;
    }
  }
  const T loss = T(std::log(sum) + (double(top) - double(r.z_true)));
  const T scale = T(double(r.weight) / sum);
  for (int64_t s = 0; s < S; ++s) r.z[s] *= scale;
  *dz_true = r.weight * std::expm1(-loss);
  return loss;
}

template <class T>
T nce_row(const Row<T>& r, const T* shift, T c, int64_t S, T* dz_true) {
  double loss = double(softplus(c - r.z_true));
  for (int64_t s = 0; s < S; ++s) {
    const T z = r.z[s] + shift[s] - c;
    loss += double(softplus(z));
    r.z[s] = r.weight * logistic(z);
  }
  *dz_true = -r.weight * logistic(c - r.z_true);
  return T(loss);
}

template <class T>
void run(const Exec& exec, const SampledXent& args) {
  const int64_t N = args.x.n[0], D = args.x.n[1], S = args.ids.n[0];
  const auto x = args.x.as<T>(), W_true = args.W_true.as<T>(), dx = args.dx.as<T>(),
             dW_true = args.dW_true.as<T>();
  const auto b = args.b.as<T>(), log_q = args.log_q.as<T>(), loss = args.loss.as<T>(),
             dloss = args.dloss.as<T>(), db_true = args.db_true.as<T>();
  const auto target = args.target.as<int32_t>(), ids = args.ids.as<int32_t>();
  const auto bias_of = [&](int32_t word) { return b ? b(word) : T(0); };
  const auto shift_of = [&](int32_t word) { return bias_of(word) - log_q(word) - std::log(T(S)); };
  const bool softmax = args.objective == SampledObjective::softmax;
  // What every sample's score is corrected by, then a turn's scores.
  T* shift = static_cast<T*>(args.scratch.data);
  const int64_t stride = (S + 7) / 8 * 8;
  const int64_t turn = std::min<int64_t>(N, int64_t(args.scratch.bytes / sizeof(T)) / stride - 1);
  for (int64_t s = 0; s < S; ++s) shift[s] = shift_of(ids(s));
  for (int64_t first = 0; first < N; first += turn) {
    const int64_t rows = std::min(turn, N - first);
    View2 z = view_of(shift + stride, rows, S);
    z.ld = stride;
    const View2 x_rows = args.x.slice(first, rows);
    cpu::gemm(exec, {.C = z, .A = x_rows, .B = args.W_sample, .transpose_B = Transpose::yes});
    const auto scores = z.as<T>();
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t n = first + r;
      T dz_true = 0;
      if (target(n) < 0) {
        loss(n) = T(0);
        std::fill_n(scores.row(r), S, T(0));
      } else {
        T z_true = softmax ? bias_of(target(n)) : shift_of(target(n));
        for (int64_t d = 0; d < D; ++d) z_true += x(n, d) * W_true(n, d);
        const Row<T> row = {scores.row(r), z_true, dloss(n), target(n)};
        loss(n) = softmax ? softmax_row(row, shift, ids.data, S, &dz_true)
                          : nce_row(row, shift, T(args.log_normalizer), S, &dz_true);
      }
      db_true(n) = dz_true;
      for (int64_t d = 0; d < D; ++d) {
        dx(n, d) = dz_true * W_true(n, d);
        dW_true(n, d) = dz_true * x(n, d);
      }
    }
    cpu::gemm(exec, {.C = args.dx.slice(first, rows), .A = z, .B = args.W_sample, .beta = 1});
    cpu::gemm(exec, {.C = args.dW_sample,
                     .A = z,
                     .B = x_rows,
                     .transpose_A = Transpose::yes,
                     .beta = first > 0 ? 1.0 : 0.0});
    cpu::column_sum(exec, {.sum = args.db_sample,
                           .x = z,
                           .to_sum = first > 0 ? Accumulate::add : Accumulate::overwrite});
  }
}

}  // namespace

void sampled_xent(const Exec& exec, const SampledXent& args) {
  with_real("sampled_xent", args.x.dtype, [&](auto zero) { run<decltype(zero)>(exec, args); });
}

}  // namespace unroll::cpu
