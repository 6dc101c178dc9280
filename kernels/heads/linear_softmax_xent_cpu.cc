// CPU body of the output layer: products by BLAS, and one visit of each row of logits that turns it
// into a loss and, in place, into gradients.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/fast_math.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/linear_softmax_xent.h"

namespace unroll::cpu {
namespace {

// z += b; the largest z. A NaN may be lost here: the sum of exponentials brings it back.
template <class T>
T add_bias_and_max(T* z, const T* b, int64_t V) {
  if (b) {
    for (int64_t v = 0; v < V; ++v) z[v] += b[v];
  }
  T top = -INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t v = 0; v < V; ++v) top = z[v] > top ? z[v] : top;
  return top;
}

// Sum of exp(z - top); with `keep`, z becomes its terms. Blocks are summed in T, their sums in f64.
// Terms below e^-70 of the largest become 0: they change nothing, but in f32 they or their products
// would be subnormal, on which matrix products run several times slower.
template <class T, bool keep>
double sum_of_exp(T* z, T top, int64_t V) {
  constexpr int64_t kBlock = 1024;
  double sum = 0;
  for (int64_t first = 0; first < V; first += kBlock) {
    const int64_t last = std::min(first + kBlock, V);
    T block_sum = 0;
#pragma omp simd reduction(+ : block_sum)
    for (int64_t v = first; v < last; ++v) {
      const T below = z[v] - top;
      const T e = below < T(-70) ? T(0) : fast_exp(below < T(-70) ? T(-70) : below);
      if constexpr (keep) z[v] = e;
      block_sum += e;
    }
    sum += block_sum;
  }
  return sum;
}

template <class T>
T loss_of_row(T* z, const T* b, int64_t V, int32_t target) {
  const T top = add_bias_and_max(z, b, V);
  return T(std::log(sum_of_exp<T, false>(z, top, V)) + (double(top) - double(z[target])));
}

// The same, leaving weight (softmax(z) - onehot(target)) in z.
template <class T>
T loss_and_gradient_of_row(T* z, const T* b, int64_t V, int32_t target, T weight) {
  const T top = add_bias_and_max(z, b, V);
  const double z_target = z[target];
  const double sum = sum_of_exp<T, true>(z, top, V);
  const T scale = T(weight / sum);
  for (int64_t v = 0; v < V; ++v) z[v] *= scale;
  z[target] -= weight;
  return T(std::log(sum) + (double(top) - z_target));
}

template <class T>
void run(const Exec& exec, const LinearSoftmaxXent& args) {
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
  const bool gradients = bool(args.dx);
  const auto loss = args.loss.as<T>(), dloss = args.dloss.as<T>();
  const auto target = args.target.as<int32_t>();
  const T* b = args.b.as<T>().data;

  const size_t row_bytes = linear_softmax_xent_scratch_bytes(exec, args.x.dtype, 1, int(D), int(V));
  const int64_t chunk = std::min<int64_t>(N, int64_t(args.scratch.bytes / row_bytes));
  Accumulate to_dW = args.to_dW, to_db = args.to_db;
  int64_t first = 0;
  do {  // at least once, so that N = 0 still defines dW and db
    const int64_t rows = std::min(chunk, N - first);
    View2 z = view_of(args.scratch.data, args.x.dtype, rows, V);
    z.ld = int64_t(row_bytes / sizeof(T));
    const View2 x = args.x.slice(first, rows);
    cpu::gemm(exec, {.C = z, .A = x, .B = args.W, .transpose_B = Transpose::yes});

    const auto logits = z.as<T>();
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t r = 0; r < rows; ++r) {
      T* row = logits.row(r);
      const int64_t n = first + r;
      if (target(n) < 0) {
        loss(n) = T(0);
        if (gradients) std::fill_n(row, V, T(0));
      } else if (gradients) {
        loss(n) = loss_and_gradient_of_row(row, b, V, target(n), dloss(n));
      } else {
        loss(n) = loss_of_row(row, b, V, target(n));
      }
    }

    if (args.dx) cpu::gemm(exec, {.C = args.dx.slice(first, rows), .A = z, .B = args.W});
    if (args.dW)
      cpu::gemm(
          exec,
          {.C = args.dW, .A = z, .B = x, .transpose_A = Transpose::yes, .beta = beta_of(to_dW)});
    if (args.db) cpu::column_sum(exec, {.sum = args.db, .x = z, .to_sum = to_db});
    to_dW = to_db = Accumulate::add;
    first += rows;
  } while (first < N);
}

}  // namespace

void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args) {
  with_real("linear_softmax_xent", args.x.dtype,
            [&](auto zero) { run<decltype(zero)>(exec, args); });
}

void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args) {
  cpu::gemm(exec, {.C = args.log_p, .A = args.x, .B = args.W, .transpose_B = Transpose::yes});
  with_real("linear_log_softmax", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto log_p = args.log_p.as<T>();
    const T* b = args.b.as<T>().data;
    const int64_t N = log_p.n[0], V = log_p.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < N; ++n) {
      T* z = log_p.row(n);
      const T top = add_bias_and_max(z, b, V);
      const T lse = T(double(top) + std::log(sum_of_exp<T, false>(z, top, V)));
      for (int64_t v = 0; v < V; ++v) z[v] -= lse;
    }
  });
}

}  // namespace unroll::cpu
