// cuda::sort_pairs as a plain stable sort, queued; it fills its scratch, as a radix sort does.
#include "kernels/base/device_algorithms.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/base/error.h"
#include "tests/gpu_on_cpu/engine.h"

namespace unroll::cuda {

size_t sort_pairs_scratch_bytes(int N) { return 256 + size_t(N) * 8; }

void sort_pairs(const Exec& exec, const SortPairs& args) {
  const size_t N = size_t(args.keys_in.n[0]), scratch = sort_pairs_scratch_bytes(int(N));
  if (args.scratch.bytes < scratch)
    throw Error("sort_pairs: scratch is " + std::to_string(args.scratch.bytes) +
                " bytes, expected at least " + std::to_string(scratch));
  gpu_on_cpu::enqueue(exec.stream, [args, N, scratch] {
    std::memset(args.scratch.data, 0xff, scratch);
    gpu_on_cpu::device_written(args.scratch.data, scratch);
    if (N == 0) return;
    gpu_on_cpu::device_read(args.keys_in.data, N * 4);
    gpu_on_cpu::device_read(args.values_in.data, N * 4);
    const auto* keys = static_cast<const uint32_t*>(args.keys_in.data);
    const auto* values = static_cast<const uint32_t*>(args.values_in.data);
    const uint32_t mask = args.key_bits >= 32 ? ~0u : (1u << args.key_bits) - 1u;
    std::vector<uint32_t> order(N);
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return (keys[a] & mask) < (keys[b] & mask); });
    for (size_t i = 0; i < N; ++i) {
      static_cast<uint32_t*>(args.keys_out.data)[i] = keys[order[i]];
      static_cast<uint32_t*>(args.values_out.data)[i] = values[order[i]];
    }
    gpu_on_cpu::device_written(args.keys_out.data, N * 4);
    gpu_on_cpu::device_written(args.values_out.data, N * 4);
  });
}

}  // namespace unroll::cuda
