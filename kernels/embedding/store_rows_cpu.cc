// CPU body of store_rows.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/embedding/store_rows.h"

namespace unroll::cpu {

void store_rows(const Exec& exec, const StoreRows& args) {
  const auto ids = args.ids.as<int32_t>();
  const auto words = args.g.words.as<uint32_t>();
  const int64_t P = ids.n[0], N = words.n[0], D = args.terms.n[1];
  with_real("store_rows", args.terms.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto terms = args.terms.as<T>(), rows = args.g.rows.as<T>();
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t i = 0; i < P; ++i) {
      const bool has = i < N && has_row(words.data, i, args.V);
      ids(i) = has ? int32_t(words(i)) : -1;
      if (has) std::copy_n(rows.row(i), D, terms.row(i));
    }
  });
}

}  // namespace unroll::cpu
