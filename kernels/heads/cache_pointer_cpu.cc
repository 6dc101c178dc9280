// CPU body of the continuous cache: one product by BLAS, then rows side by side.
#include <algorithm>
#include <cstring>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/fast_math.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/cache_pointer.h"

namespace unroll::cpu {
namespace {

// Sums over a stretch of the ring: of all terms, and of those whose word is the target.
struct Mass {
  double all = 0, hits = 0;
};

template <class T>
T largest(const T* s, int64_t n) {
  T top = -INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < n; ++i) top = s[i] > top ? s[i] : top;
  return top;
}

// Blocks are summed in T, their sums in f64.
template <class T>
void add_mass(Mass& mass, const T* s, const int32_t* ids, int64_t n, T theta, T top,
              int32_t target) {
  constexpr int64_t kBlock = 1024;
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t last = std::min(first + kBlock, n);
    T all = 0, hits = 0;
#pragma omp simd reduction(+ : all, hits)
    for (int64_t i = first; i < last; ++i) {
      const T e = fast_exp_term(theta * (s[i] - top));
      all += e;
      hits += ids[i] == target ? e : T(0);
    }
    mass.all += double(all);
    mass.hits += double(hits);
  }
}

template <class T>
void run(const Exec& exec, const CachePointer& args) {
  const int64_t N = args.h.n[0], D = args.h.n[1], R = args.memory.n[0], K = args.p.n[1];
  uint64_t& seen = args.seen.as<uint64_t>()(0);
  const auto h = args.h.as<T>(), memory = args.memory.as<T>(), p = args.p.as<T>();
  int32_t* ids = args.ids.as<int32_t>().data;
  const auto target = args.target.as<int32_t>();
  for (int64_t n = 0; n < N; ++n) {
    const int64_t at = int64_t((seen + uint64_t(n)) % uint64_t(R));
    std::memcpy(memory.row(at), h.row(n), size_t(D) * sizeof(T));
    ids[at] = target(n);
  }
  View2 products = view_of(args.scratch.data, args.h.dtype, N, R);
  products.ld = (R + 7) / 8 * 8;
  cpu::gemm(exec, {.C = products, .A = args.h, .B = args.memory, .transpose_B = Transpose::yes});

#pragma omp parallel for num_threads(exec.threads)
  for (int64_t n = 0; n < N; ++n) {
    const T* s = products.as<T>().row(n);
    const uint64_t before = seen + uint64_t(n);
    for (int64_t k = 0; k < K; ++k) {
      const int64_t count = int64_t(std::min(uint64_t(args.settings[k].window), before));
      if (count == 0 || target(n) < 0) {
        p(n, k) = T(0);
        continue;
      }
      // The window is one stretch of the ring, or its end and its beginning.
      const int64_t start = int64_t((before - uint64_t(count)) % uint64_t(R));
      const int64_t head = std::min(count, R - start), tail = count - head;
      const T theta = T(args.settings[k].theta);
      const T top = std::max(largest(s + start, head), largest(s, tail));
      Mass mass;
      add_mass(mass, s + start, ids + start, head, theta, top, target(n));
      add_mass(mass, s, ids, tail, theta, top, target(n));
      p(n, k) = T(mass.hits / mass.all);
    }
  }
  seen += uint64_t(N);
}

}  // namespace

void cache_pointer(const Exec& exec, const CachePointer& args) {
  with_real("cache_pointer", args.h.dtype, [&](auto zero) { run<decltype(zero)>(exec, args); });
}

}  // namespace unroll::cpu
