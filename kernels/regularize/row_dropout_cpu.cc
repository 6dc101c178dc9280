// CPU body of row_dropout.
#include "kernels/base/cpu_dtype.h"
#include "kernels/base/philox.h"
#include "kernels/regularize/row_dropout.h"

namespace unroll::cpu {

void row_dropout(const Exec& exec, const RowDropout& args) {
  const uint64_t* counter = args.key.counter.as<uint64_t>().data;
  const uint64_t seed = counter[0], step = counter[1];
  const uint32_t threshold = dropout_threshold(args.p);
  const auto ids = args.ids.as<int32_t>();
  with_real("row_dropout", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto x = args.x.as<T>(), y = args.y.as<T>();
    const T scale = T(1 / (1 - args.p));
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < y.n[0]; ++n) {
      const uint32_t v = uint32_t(ids(n));
      const bool kept =
          ids(n) >= 0 && philox_block(seed, step, args.key.op, v / 4).v[v % 4] >= threshold;
      for (int64_t d = 0; d < y.n[1]; ++d) y(n, d) = kept ? x(n, d) * scale : T(0);
    }
  });
}

}  // namespace unroll::cpu
