// C = op(A) op(B) + beta C, row-major.
//
//   C [M,N]   op(A) [M,K]   op(B) [K,N]       op(X) = X or X^T
//
// dtypes: A and B equal, f32, f64 (CPU) or bf16 (CUDA); C in the same type or, for bf16 operands,
// in f32. Sums are kept in f32 (f64 for f64). cuBLAS on CUDA; on the CPU oneDNN in f32 and OpenBLAS
// in f64. With MatmulMode::bf16 (CPU), f32 operands are rounded to bf16 on their way in. Each view's row stride is its leading dimension. M, N or K may be 0: with K = 0, C
// becomes beta C. Throws Error if the shapes or dtypes do not fit.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

enum class Transpose : uint8_t { no, yes };

struct Gemm {
  View2 C;  // [M,N]
  View2 A;  // [M,K], or [K,M] if transpose_A
  View2 B;  // [K,N], or [N,K] if transpose_B
  Transpose transpose_A = Transpose::no;
  Transpose transpose_B = Transpose::no;
  double beta = 0;  // with 0, C is not read and may hold NaN
};
void gemm(const Exec& exec, const Gemm& args);

// beta of a gradient that is written first or added to.
constexpr double beta_of(Accumulate a) { return a == Accumulate::add ? 1.0 : 0.0; }

namespace cpu {
void gemm(const Exec& exec, const Gemm& args);
}
namespace cuda {
void gemm(const Exec& exec, const Gemm& args);
}

}  // namespace unroll
