// Shape checks and dispatch of the matrix product.
#include "kernels/gemm/gemm.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void gemm(const Exec& exec, const Gemm& a) {
  if (exec.kind == DeviceKind::none) return;
  const bool tA = a.transpose_A == Transpose::yes, tB = a.transpose_B == Transpose::yes;
  const DType dtype = a.A.dtype;
  const int64_t M = a.C.n[0], N = a.C.n[1], K = tA ? a.A.n[0] : a.A.n[1];
  const bool widened = dtype == DType::bf16 && a.C.dtype == DType::f32;
  check_shape("gemm", "C", a.C, "[M,N]", {M, N}, widened ? DType::f32 : dtype);
  if (tA)
    check_shape("gemm", "A", a.A, "[K,M]", {K, M}, dtype);
  else
    check_shape("gemm", "A", a.A, "[M,K]", {M, K}, dtype);
  if (tB)
    check_shape("gemm", "B", a.B, "[N,K]", {N, K}, dtype);
  else
    check_shape("gemm", "B", a.B, "[K,N]", {K, N}, dtype);
  if (M == 0 || N == 0) return;
  dispatch<cpu::gemm, cuda::gemm>(exec, a);
}

}  // namespace unroll
