// CUDA bodies of the device-wide algorithms: the only file that includes CUB.
#include <cub/device/device_radix_sort.cuh>

#include "kernels/base/cuda_check.h"
#include "kernels/base/device_algorithms.h"

namespace unroll::cuda {

void sort_pairs(const Exec& exec, const SortPairs& args) {
  size_t bytes = args.scratch.bytes;
  CUDA_CHECK(cub::DeviceRadixSort::SortPairs(
      args.scratch.data, bytes, static_cast<const uint32_t*>(args.keys_in.data),
      static_cast<uint32_t*>(args.keys_out.data), static_cast<const uint32_t*>(args.values_in.data),
      static_cast<uint32_t*>(args.values_out.data), int(args.keys_in.n[0]), 0, args.key_bits,
      exec.stream));
}

size_t sort_pairs_scratch_bytes(int N) {
  size_t bytes = 0;
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  CUDA_CHECK(cub::DeviceRadixSort::SortPairs(nullptr, bytes, in, out, in, out, N, 0, 32));
  return bytes;
}

}  // namespace unroll::cuda
