// CPU bodies of the softmax over classes: the rows of a class brought together are an output layer
// of their own, over the class's rows of W.
#include <algorithm>
#include <cmath>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/fast_math.h"
#include "kernels/heads/class_xent.h"
#include "kernels/heads/linear_softmax_xent.h"

namespace unroll::cpu {
namespace {

size_t align(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Rows of one class, gathered: their place in the scratch.
struct Layout {
  size_t x, dx, loss, dloss, target, logits;  // offsets
};
Layout layout_of(DType act, int64_t rows, int64_t D) {
  const size_t vectors = align(size_t(rows * D) * size_of(act));
  const size_t scalars = align(size_t(rows) * size_of(act));
  Layout at{};
  at.dx = vectors;
  at.loss = 2 * vectors;
  at.dloss = at.loss + scalars;
  at.target = at.dloss + scalars;
  at.logits = at.target + align(size_t(rows) * sizeof(int32_t));
  return at;
}

// The most rows whose gathered form takes half of the scratch at most.
int64_t rows_that_fit(DType act, int64_t N, int64_t D, size_t bytes) {
  const int64_t row = 2 * (D + 1) * int64_t(size_of(act)) + int64_t(sizeof(int32_t));
  const int64_t padding = 5 * 64;
  return std::clamp<int64_t>((int64_t(bytes / 2) - padding) / row, 1, std::max<int64_t>(N, 1));
}

// What `rows` rows and their logits take, within `budget` where that can be.
size_t bytes_for(const Exec& exec, DType act, int64_t rows, int64_t D, int64_t largest,
                 bool gradients, size_t budget) {
  const size_t gathered = layout_of(act, rows, D).logits;
  return gathered + linear_softmax_xent_scratch_bytes(exec, act, rows, D, largest, gradients,
                                                      budget > gathered ? budget - gathered : 0);
}

template <class T>
void run(const Exec& exec, const ClassXent& args) {
  const int64_t D = args.x.n[1], C = args.bounds.n[0] - 1;
  int64_t most = rows_that_fit(args.x.dtype, args.x.n[0], D, args.scratch.bytes);
  if (bytes_for(exec, args.x.dtype, most, D, args.largest, bool(args.dx), args.scratch.bytes) >
      args.scratch.bytes)
    most = 1;
  const Layout at = layout_of(args.x.dtype, most, D);
  char* scratch = static_cast<char*>(args.scratch.data);
  const auto bounds = args.bounds.as<int32_t>(), start = args.start.as<int32_t>(),
             order = args.order.as<int32_t>(), target = args.target.as<int32_t>();
  const auto x = args.x.as<T>(), dx = args.dx.as<T>();
  const auto loss = args.loss.as<T>(), dloss = args.dloss.as<T>();
  for (int64_t c = 0; c < C; ++c) {
    const int64_t words = bounds(c + 1) - bounds(c);
    if (words == 0) continue;
    int64_t first = start(c);
    Accumulate to_dW = args.to_dW, to_db = args.to_db;
    do {  // at least once, so that a class without rows still has its gradient defined
      const int64_t rows = std::min<int64_t>(most, start(c + 1) - first);
      if (rows == 0 && !(args.dx && to_dW == Accumulate::overwrite)) break;
      const View2 x_c = view_of(scratch + at.x, args.x.dtype, rows, D);
      const View1 target_c = view_of(scratch + at.target, DType::i32, rows);
      LinearSoftmaxXent level{.loss = view_of(scratch + at.loss, args.x.dtype, rows),
                              .x = x_c,
                              .W = args.W.slice(bounds(c), words),
                              .target = target_c};
      if (args.b) level.b = args.b.slice(bounds(c), words);
      if (args.dx) {
        level.dx = view_of(scratch + at.dx, args.x.dtype, rows, D);
        level.dW = args.dW.slice(bounds(c), words);
        if (args.db) level.db = args.db.slice(bounds(c), words);
        level.to_dW = to_dW;
        level.to_db = to_db;
        level.dloss = view_of(scratch + at.dloss, args.x.dtype, rows);
      }
      level.scratch = {scratch + at.logits, args.scratch.bytes - at.logits};
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = order(first + r);
        std::copy_n(x.row(n), D, x_c.as<T>().row(r));
        target_c.as<int32_t>()(r) = target(n) - bounds(c);
        if (args.dx) level.dloss.as<T>()(r) = dloss(n);
      }
      unroll::linear_softmax_xent(exec, level);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t n = order(first + r);
        loss(n) += level.loss.as<T>()(r);
        if (!args.dx) continue;
        for (int64_t d = 0; d < D; ++d) dx(n, d) += level.dx.as<T>()(r, d);
      }
      to_dW = to_db = Accumulate::add;
      first += rows;
    } while (first < start(c + 1));
  }
}

}  // namespace

void class_xent(const Exec& exec, const ClassXent& args) {
  with_real("class_xent", args.x.dtype, [&](auto zero) { run<decltype(zero)>(exec, args); });
}

size_t class_xent_scratch_bytes(const Exec& exec, DType act, int64_t N, int64_t D, int64_t largest,
                                bool gradients, size_t budget) {
  return bytes_for(exec, act, rows_that_fit(act, N, D, budget), D, largest, gradients, budget);
}

void class_log_softmax(const Exec& exec, const ClassLogSoftmax& args) {
  with_real("class_log_softmax", args.log_p.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto log_p = args.log_p.as<T>(), log_class = args.log_class.as<T>();
    const auto bounds = args.bounds.as<int32_t>();
    const int64_t N = log_p.n[0], C = log_class.n[1];
#pragma omp parallel for collapse(2) num_threads(exec.threads)
    for (int64_t n = 0; n < N; ++n)
      for (int64_t c = 0; c < C; ++c) {
        T* z = log_p.row(n) + bounds(c);
        const int64_t words = bounds(c + 1) - bounds(c);
        if (words == 0) continue;
        const T top = *std::max_element(z, z + words);
        double sum = 0;
        for (int64_t w = 0; w < words; ++w) sum += double(fast_exp(z[w] - top));
        const T shift = T(double(log_class(n, c)) - double(top) - std::log(sum));
        for (int64_t w = 0; w < words; ++w) z[w] += shift;
      }
  });
}

}  // namespace unroll::cpu
