// CUDA body of the continuous cache: the rows join the ring, one product, a block per row.
#include <algorithm>
#include <cmath>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/cache_pointer.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

struct Settings {
  CacheSetting of[kMaxCacheSettings];
};

// Row n of h and its target become pair seen + n.
template <class T>
GPU_KERNEL_BOUNDS(kThreads, 1)
void append_kernel(View<T, 2> memory, int32_t* ids, const uint64_t* seen, View<const T, 2> h,
                   const int32_t* target) {
  const int64_t n = blockIdx.x;
  const int64_t at = int64_t((*seen + uint64_t(n)) % uint64_t(memory.n[0]));
  for (int64_t d = threadIdx.x; d < h.n[1]; d += kThreads) memory(at, d) = h(n, d);
  if (threadIdx.x == 0) ids[at] = target[n];
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void mass_kernel(View<float, 2> p, View<const float, 2> products, const int32_t* ids,
                 const uint64_t* seen, const int32_t* target, Settings settings) {
  const int64_t n = blockIdx.x, R = products.n[1];
  const float* s = products.row(n);
  const uint64_t before = *seen + uint64_t(n);
  const int32_t word = target[n];
  for (int64_t k = 0; k < p.n[1]; ++k) {
    const uint64_t window = uint64_t(settings.of[k].window);
    const int64_t count = int64_t(window < before ? window : before);
    const int64_t start = int64_t((before - uint64_t(count)) % uint64_t(R));
    const float theta = float(settings.of[k].theta);
    const auto place = [&](int64_t j) { return start + j < R ? start + j : start + j - R; };
    float top = -__builtin_huge_valf();
    for (int64_t j = threadIdx.x; j < count; j += kThreads) {
      const float v = s[place(j)];
      top = v > top ? v : top;
    }
    top = block_max(top);
    float all = 0, hits = 0;
    for (int64_t j = threadIdx.x; j < count; j += kThreads) {
      const int64_t at = place(j);
      const float e = std::exp(theta * (s[at] - top));
      all += e;
      hits += ids[at] == word ? e : 0.0f;
    }
    all = block_sum(all);
    hits = block_sum(hits);
    if (threadIdx.x == 0) p(n, k) = count == 0 || word < 0 ? 0.0f : hits / all;
  }
}

GPU_KERNEL_BOUNDS(1, 1) void advance_kernel(uint64_t* seen, int64_t N) { *seen += uint64_t(N); }

}  // namespace

void cache_pointer(const Exec& exec, const CachePointer& args) {
  const int64_t N = args.h.n[0], R = args.memory.n[0], K = args.p.n[1];
  int32_t* ids = static_cast<int32_t*>(args.ids.data);
  uint64_t* seen = static_cast<uint64_t*>(args.seen.data);
  const int32_t* target = static_cast<const int32_t*>(args.target.data);
  gpu::Launch rows;
  rows.grid.x = unsigned(N);
  rows.block.x = kThreads;
  with_act("cache_pointer", args.h.dtype, [&](auto zero) {
    using T = decltype(zero);
    gpu::launch(append_kernel<T>, rows, exec.stream, args.memory.as<T>(), ids,
                static_cast<const uint64_t*>(seen), args.h.as<const T>(), target);
  });
  View2 products = view_of(args.scratch.data, DType::f32, N, R);
  products.ld = (R + 7) / 8 * 8;
  cuda::gemm(exec, {.C = products, .A = args.h, .B = args.memory, .transpose_B = Transpose::yes});
  Settings settings;
  std::copy_n(args.settings, K, settings.of);
  gpu::launch(mass_kernel, rows, exec.stream, args.p.as<float>(), products.as<const float>(),
              static_cast<const int32_t*>(ids), static_cast<const uint64_t*>(seen), target,
              settings);
  gpu::launch(advance_kernel, gpu::Launch{}, exec.stream, seen, N);
}

}  // namespace unroll::cuda
