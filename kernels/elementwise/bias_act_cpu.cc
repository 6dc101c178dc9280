// CPU bodies of bias_act and column_sum.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/fast_math.h"
#include "kernels/base/math.h"
#include "kernels/elementwise/bias_act.h"

namespace unroll::cpu {
namespace {

// Output may be input, row for row: omp simd says that no element depends on another.
template <class T, class Map>
void map_row(T* y, const T* x, int64_t D, Map map) {
#pragma omp simd
  for (int64_t d = 0; d < D; ++d) y[d] = map(x[d], d);
}

template <class T>
void forward_row(T* y, const T* x, const T* b, int64_t D, Activation act) {
  if (b)
    map_row(y, x, D, [b](T v, int64_t d) { return v + b[d]; });
  else if (y != x)
    std::copy_n(x, D, y);
  if (act == Activation::tanh)
    map_row(y, y, D, [](T v, int64_t) { return fast_tanh(v); });
  else if (act == Activation::relu)
    map_row(y, y, D, [](T v, int64_t) { return relu(v); });
}

template <class T>
void backward_row(T* dx, const T* dy, const T* y, int64_t D, Activation act) {
  switch (act) {
    case Activation::none:
      if (dx != dy) std::copy_n(dy, D, dx);
      break;
    case Activation::tanh:
      map_row(dx, dy, D, [y](T v, int64_t d) { return v * tanh_slope(y[d]); });
      break;
    case Activation::relu:
      map_row(dx, dy, D, [y](T v, int64_t d) { return is_positive(y[d]) ? v : T(0); });
      break;
  }
}

}  // namespace

void bias_act_forward(const Exec& exec, const BiasAct& args) {
  with_real("bias_act_forward", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto y = args.y.as<T>(), x = args.x.as<T>();
    const T* b = args.b.as<T>().data;
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < x.n[0]; ++n) forward_row(y.row(n), x.row(n), b, x.n[1], args.act);
  });
}

void bias_act_backward(const Exec& exec, const BiasActBackward& args) {
  with_real("bias_act_backward", args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto dx = args.dx.as<T>(), dy = args.dy.as<T>(), y = args.y.as<T>();
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < dy.n[0]; ++n)
      backward_row(dx.row(n), dy.row(n), y.data ? y.row(n) : nullptr, dy.n[1], args.act);
  });
}

void column_sum(const Exec& exec, const ColumnSum& args) {
  constexpr int64_t kColumns = 256;  // of one task; the partial sums stay in the first-level cache
  with_real("column_sum", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto x = args.x.as<T>();
    T* sum = args.sum.as<T>().data;
    const int64_t D = x.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t first = 0; first < D; first += kColumns) {
      const int64_t count = std::min(kColumns, D - first);
      T* s = sum + first;
      if (args.to_sum == Accumulate::overwrite) std::fill_n(s, count, T(0));
      for (int64_t n = 0; n < x.n[0]; ++n) {
        const T* row = x.row(n) + first;
        for (int64_t d = 0; d < count; ++d) s[d] += row[d];
      }
    }
  });
}

}  // namespace unroll::cpu
