// Shape checks and dispatch of global_norm.
#include "kernels/update/global_norm.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void global_norm(const Exec& exec, const GlobalNorm& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.g.n[0];
  check_shape("global_norm", "g", args.g, "[n]", {n}, args.g.dtype);
  check_shape("global_norm", "norm2", args.norm2, "[1]", {1}, DType::f64);
  const size_t needed = global_norm_scratch_bytes(n);
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "global_norm: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, global_norm_scratch_bytes asks for " + std::to_string(needed));
  dispatch<cpu::global_norm, cuda::global_norm>(exec, args);
}

size_t global_norm_scratch_bytes(int64_t n) {
  return size_t((n + kNormBlock - 1) / kNormBlock) * sizeof(double);
}

}  // namespace unroll
