// Shape checks, dispatch and scratch size of the continuous cache.
#include "kernels/heads/cache_pointer.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void cache_pointer(const Exec& exec, const CachePointer& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "cache_pointer";
  const int64_t N = args.h.n[0], D = args.h.n[1], R = args.memory.n[0], K = args.p.n[1];
  const DType act = args.h.dtype;
  check_shape(op, "h", args.h, "[N,D]", {N, D}, act);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "memory", args.memory, "[R,D]", {R, D}, act);
  check_shape(op, "ids", args.ids, "[R]", {R}, DType::i32);
  check_shape(op, "seen", args.seen, "[1]", {1}, DType::u64);
  check_shape(op, "p", args.p, "[N,K]", {N, K}, accumulate_type(act));
  UNROLL_CHECK(args.settings && K >= 1 && K <= kMaxCacheSettings,
               "cache_pointer: " + std::to_string(K) + " settings, expected 1 to " +
                   std::to_string(kMaxCacheSettings));
  for (int64_t k = 0; k < K; ++k)
    UNROLL_CHECK(args.settings[k].window >= 1 && args.settings[k].window <= R - N &&
                     args.settings[k].theta >= 0,
                 "cache_pointer: a window of " + std::to_string(args.settings[k].window) +
                     " with theta " + std::to_string(args.settings[k].theta) + ", expected 1 to " +
                     std::to_string(R - N) + " and a theta of at least 0");
  const size_t needed = cache_pointer_scratch_bytes(act, N, R);
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "cache_pointer: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, cache_pointer_scratch_bytes asks for " + std::to_string(needed));
  if (N > 0) dispatch<cpu::cache_pointer, cuda::cache_pointer>(exec, args);
}

size_t cache_pointer_scratch_bytes(DType act, int64_t N, int64_t R) {
  return size_t(N) * size_t((R + 7) / 8 * 8) * size_of(accumulate_type(act));
}

}  // namespace unroll
