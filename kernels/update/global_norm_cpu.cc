// CPU body of global_norm.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/update/global_norm.h"

namespace unroll::cpu {
namespace {

// Sum of squares in 32 interleaved partial sums: vector code without reordering additions at will.
template <class T>
double sum_of_squares(const T* g, int64_t n) {
  constexpr int64_t kLanes = 32;
  T partial[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) partial[k] += g[i + k] * g[i + k];
  for (int64_t k = 0; i + k < n; ++k) partial[k] += g[i + k] * g[i + k];
  double sum = 0;
  for (T p : partial) sum += p;
  return sum;
}

}  // namespace

void global_norm(const Exec& exec, const GlobalNorm& args) {
  const int64_t n = args.g.n[0], blocks = (n + kNormBlock - 1) / kNormBlock;
  double* block_sum = static_cast<double*>(args.scratch.data);
  with_real("global_norm", args.g.dtype, [&](auto zero) {
    const auto* g = args.g.as<decltype(zero)>().data;
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t k = 0; k < blocks; ++k)
      block_sum[k] = sum_of_squares(g + k * kNormBlock, std::min(kNormBlock, n - k * kNormBlock));
  });
  double sum = 0;
  for (int64_t k = 0; k < blocks; ++k) sum += block_sum[k];
  args.norm2.as<double>()(0) = sum;
}

}  // namespace unroll::cpu
