// CUDA body of gemm: cuBLAS, which reads matrices by columns, so that a row-major C = A B is asked
// for as C^T = B^T A^T.
#include <cublas_v2.h>

#include <string>

#include "kernels/base/cuda_check.h"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/gemm/gemm.h"

namespace unroll::cuda {
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(std::string("cuBLAS: ") + cublasGetStatusString(status) + " (" + call + ")");
}

cudaDataType_t type_of(DType dtype) { return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

// C = beta C, for products with K = 0.
template <class T>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void scale_kernel(View<T, 2> C, float beta) {
  for_each_tile<1>(C.n[0], C.n[1], [&](int64_t row, int64_t column, auto) {
    T& c = C(row, column);
    c = T(beta == 0 ? 0.0f : beta * float(c));
  });
}

void scale(const Exec& exec, const Gemm& args) {
  with_act("gemm", args.C.dtype, [&](auto zero) {
    gpu::launch(scale_kernel<decltype(zero)>, row_tiles(args.C.n[0], args.C.n[1], 1), exec.stream,
                args.C.as<decltype(zero)>(), float(args.beta));
  });
}

}  // namespace

void gemm(const Exec& exec, const Gemm& args) {
  const int64_t M = args.C.n[0], N = args.C.n[1];
  const int64_t K = args.transpose_A == Transpose::yes ? args.A.n[0] : args.A.n[1];
  if (M == 0 || N == 0) return;
  if (K == 0) return scale(exec, args);

  const float alpha = 1, beta = float(args.beta);
  const auto op = [](Transpose t) { return t == Transpose::yes ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const cublasComputeType_t compute = args.A.dtype == DType::f32 && exec.matmul == MatmulMode::tf32
                                          ? CUBLAS_COMPUTE_32F_FAST_TF32
                                          : CUBLAS_COMPUTE_32F;
  // Split sums stay in f32 also where C is bf16.
  check(cublasSetMathMode(
            exec.blas,
            cublasMath_t(CUBLAS_DEFAULT_MATH | CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
        "cublasSetMathMode");
  check(cublasGemmEx(exec.blas, op(args.transpose_B), op(args.transpose_A), int(N), int(M), int(K),
                     &alpha, args.B.data, type_of(args.B.dtype), int(args.B.ld), args.A.data,
                     type_of(args.A.dtype), int(args.A.ld), &beta, args.C.data,
                     type_of(args.C.dtype), int(args.C.ld), compute, CUBLAS_GEMM_DEFAULT),
        "cublasGemmEx");
}

}  // namespace unroll::cuda
