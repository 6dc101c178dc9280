// Shape checks and dispatch of the device-wide algorithms.
#include "kernels/base/device_algorithms.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void sort_pairs(const Exec& exec, const SortPairs& a) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = a.keys_in.n[0];
  check_shape("sort_pairs", "keys_in", a.keys_in, "[N]", {N}, DType::u32);
  check_shape("sort_pairs", "values_in", a.values_in, "[N]", {N}, DType::u32);
  check_shape("sort_pairs", "keys_out", a.keys_out, "[N]", {N}, DType::u32);
  check_shape("sort_pairs", "values_out", a.values_out, "[N]", {N}, DType::u32);
  if (a.key_bits < 0 || a.key_bits > 32)
    throw Error("sort_pairs: key_bits is " + std::to_string(a.key_bits) + ", expected 0 to 32");
  const size_t needed = sort_pairs_scratch_bytes(exec, int(N));
  if (a.scratch.bytes < needed)
    throw Error("sort_pairs: scratch is " + std::to_string(a.scratch.bytes) +
                " bytes, expected sort_pairs_scratch_bytes = " + std::to_string(needed));
  if (N > 0) dispatch<cpu::sort_pairs, cuda::sort_pairs>(exec, a);
}

size_t sort_pairs_scratch_bytes(const Exec& exec, int N) {
  // A measuring run on behalf of CUDA carries its BLAS handle.
  if constexpr (kBuiltWithCuda) {
    if (exec.kind == DeviceKind::cuda || exec.blas) return cuda::sort_pairs_scratch_bytes(N);
  }
  // A second pair of arrays for the CPU's passes.
  return size_t(N) * 2 * sizeof(uint32_t);
}

}  // namespace unroll
