// CPU body of exchange.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/update/exchange.h"
#include "kernels/update/pieces_cpu.h"

namespace unroll::cpu {

void exchange(const Exec& exec, const Exchange& args) {
  const auto* pieces = static_cast<const SlabPiece*>(args.pieces.data);
  auto* shadow = static_cast<bf16*>(args.shadow.data);
  with_real("exchange", args.theta.dtype, [&](auto zero) {
    using T = decltype(zero);
    T* theta = args.theta.as<T>().data;
    T* other = args.other.as<T>().data;
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t p = 0; p < args.pieces.n[0]; ++p) {
      T* first = theta + pieces[p].offset;
      if (other) std::swap_ranges(first, first + pieces[p].count, other + pieces[p].offset);
      write_shadow(shadow, pieces[p], first);
    }
  });
}

}  // namespace unroll::cpu
