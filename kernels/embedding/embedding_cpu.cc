// CPU bodies of the embedding ops.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/embedding/embedding.h"

namespace unroll::cpu {

void embedding_forward(const Exec& exec, const EmbeddingForward& args) {
  with_real("embedding_forward", args.E.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto y = args.y.as<T>();
    const auto E = args.E.as<T>();
    const auto ids = args.ids.as<int32_t>();
    const int64_t N = y.n[0], D = y.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < N; ++n) {
      if (ids(n) < 0)
        std::fill_n(y.row(n), D, T(0));
      else
        std::copy_n(E.row(ids(n)), D, y.row(n));
    }
  });
}

void embedding_backward(const Exec& exec, const EmbeddingBackward& args) {
  const auto ids = args.ids.as<int32_t>();
  const int64_t N = ids.n[0], V = args.dE.n[0];

  // A stable counting sort: positions order[end[v-1]] .. order[end[v]-1] hold id v, in rising
  // order.
  uint32_t* end = static_cast<uint32_t*>(args.scratch.data);  // [V+1]
  uint32_t* order = end + V + 1;                              // [N]
  std::fill_n(end, V + 1, 0u);
  for (int64_t n = 0; n < N; ++n)
    if (ids(n) >= 0) ++end[ids(n) + 1];
  for (int64_t v = 0; v < V; ++v) end[v + 1] += end[v];
  for (int64_t n = 0; n < N; ++n)
    if (ids(n) >= 0) order[end[ids(n)]++] = uint32_t(n);

  with_real("embedding_backward", args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto dE = args.dE.as<T>();
    const auto dy = args.dy.as<T>();
    const int64_t D = dE.n[1];
    // Rows are of unequal work, frequent words come first; each is one thread's, so the sums do not
    // depend on who takes which.
#pragma omp parallel for num_threads(exec.threads) schedule(dynamic, 64)
    for (int64_t v = 0; v < V; ++v) {
      T* row = dE.row(v);
      uint32_t i = v ? end[v - 1] : 0;
      if (args.to_dE == Accumulate::overwrite) {
        if (i == end[v])
          std::fill_n(row, D, T(0));
        else
          std::copy_n(dy.row(order[i++]), D, row);
      }
      for (; i < end[v]; ++i) {
        const T* term = dy.row(order[i]);
        for (int64_t d = 0; d < D; ++d) row[d] += term[d];
      }
    }
  });
}

}  // namespace unroll::cpu
