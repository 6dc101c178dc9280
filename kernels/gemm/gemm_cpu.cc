// The matrix product on the CPU: oneDNN in f32, OpenBLAS in f64 (oneDNN has no f64). oneDNN
// generates its f32 kernels for the processor at hand; OpenBLAS picks one of those it was built
// with, and on a processor newer than itself falls back to one without vector units worth the name.
//
// MatmulMode::bf16: rounded operands lie in the workspace, rows without gaps. A processor that does
// not multiply bf16 multiplies the rounded numbers in f32.
#include <cblas.h>

#include <algorithm>
#include <string>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/cpu_threads.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/onednn_cpu.h"

namespace unroll::cpu {
namespace {

struct Sizes {
  int64_t M, N, K, lda, ldb, ldc;
  bool tA, tB;
};

void product(const Sizes& s, const float* A, const float* B, double beta, float* C) {
  const dnnl_status_t status = dnnl_sgemm(s.tA ? 'T' : 'N', s.tB ? 'T' : 'N', s.M, s.N, s.K, 1, A,
                                          s.lda, B, s.ldb, float(beta), C, s.ldc);
  UNROLL_CHECK(status == dnnl_success, "gemm: oneDNN status " + std::to_string(int(status)));
}

void product(const Sizes& s, const double* A, const double* B, double beta, double* C) {
  cblas_dgemm(CblasRowMajor, s.tA ? CblasTrans : CblasNoTrans, s.tB ? CblasTrans : CblasNoTrans,
              int(s.M), int(s.N), int(s.K), 1, A, int(s.lda), B, int(s.ldb), beta, C, int(s.ldc));
}

// op(X): `x` as it lies in memory, and whether it is read by columns.
struct Operand {
  View<float, 2> x;
  bool transposed;
  int64_t rows() const { return x.n[transposed ? 1 : 0]; }
  int64_t columns() const { return x.n[transposed ? 0 : 1]; }
  int64_t size() const { return x.n[0] * x.n[1]; }
  Operand part(int64_t row, int64_t column, int64_t n_rows, int64_t n_columns) const {
    if (transposed) std::swap(row, column), std::swap(n_rows, n_columns);
    Operand p = *this;
    p.x.data += row * x.ld + column;
    p.x.n[0] = n_rows;
    p.x.n[1] = n_columns;
    return p;
  }
};

void multiply_bf16(const Exec& exec, const Operand& A, const Operand& B, double beta, float* C,
                   int64_t ldc, char* workspace) {
  using dnnl::memory;
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  auto* at = reinterpret_cast<bf16*>(workspace);
  const auto rounded = [&](const Operand& o) {
    round_to_bf16(exec, o.x, at);
    const int64_t width = o.x.n[1];
    memory m(matrix(memory::data_type::bf16, o.rows(), o.columns(), o.transposed ? 1 : width,
                    o.transposed ? width : 1),
             engine, at);
    at += (o.size() + 31) / 32 * 32;
    return m;
  };
  memory a = rounded(A), b = rounded(B),
         c(matrix(memory::data_type::f32, A.rows(), B.columns(), ldc), engine, C);
  dnnl::matmul(product_of(engine, a.get_desc(), b.get_desc(), c.get_desc(), beta))
      .execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
}

void multiply_rounded(const Exec& exec, const Operand& A, const Operand& B, double beta, float* C,
                      int64_t ldc, char* workspace) {
  auto* const a = reinterpret_cast<float*>(workspace);
  float* const b = a + A.size();
  round_to_bf16(exec, A.x, a);
  round_to_bf16(exec, B.x, b);
  product({A.rows(), B.columns(), A.columns(), A.x.n[1], B.x.n[1], ldc, A.transposed, B.transposed},
          a, b, beta, C);
}

// Halves what is too large for the workspace.
void rounded_product(const Exec& exec, const Operand& A, const Operand& B, double beta, float* C,
                     int64_t ldc) {
  const int64_t M = A.rows(), N = B.columns(), K = A.columns(), widest = std::max({M, N, K});
  const size_t element = multiplies_bf16() ? sizeof(bf16) : sizeof(float);
  if (size_t(A.size() + B.size()) * element + 64 <= exec.workspace_bytes) {
    // The calling thread's share: ops multiply from within their own threads, too.
    char* const workspace = exec.workspace + size_t(omp_get_thread_num()) * exec.workspace_bytes;
    const auto multiply = multiplies_bf16() ? multiply_bf16 : multiply_rounded;
    return multiply(exec, A, B, beta, C, ldc, workspace);
  }
  UNROLL_CHECK(widest > 1, "gemm: bf16 wants a workspace, which has " +
                               std::to_string(exec.workspace_bytes) + " bytes");
  const int64_t half = (widest + 1) / 2, rest = widest - half;
  if (widest == M) {
    rounded_product(exec, A.part(0, 0, half, K), B, beta, C, ldc);
    rounded_product(exec, A.part(half, 0, rest, K), B, beta, C + half * ldc, ldc);
  } else if (widest == N) {
    rounded_product(exec, A, B.part(0, 0, K, half), beta, C, ldc);
    rounded_product(exec, A, B.part(0, half, K, rest), beta, C + half, ldc);
  } else {
    rounded_product(exec, A.part(0, 0, M, half), B.part(0, 0, half, N), beta, C, ldc);
    rounded_product(exec, A.part(0, half, M, rest), B.part(half, 0, rest, N), 1, C, ldc);
  }
}

// C = beta C: what is left of a product without terms.
template <class T>
void scale(const View<T, 2>& C, double beta) {
  for (int64_t m = 0; m < C.rows(); ++m)
    for (int64_t n = 0; n < C.columns(); ++n) C(m, n) = beta == 0 ? T(0) : T(beta) * C(m, n);
}

}  // namespace

bool multiplies_bf16() {
  const int has = int(dnnl::get_effective_cpu_isa()), wanted = int(dnnl::cpu_isa::avx512_core_bf16);
  return (has & wanted) == wanted;
}

void gemm(const Exec& exec, const Gemm& a) {
  use_threads(exec);
  const bool tA = a.transpose_A == Transpose::yes, tB = a.transpose_B == Transpose::yes;
  const Sizes s = {a.C.n[0], a.C.n[1], tA ? a.A.n[0] : a.A.n[1], a.A.ld, a.B.ld, a.C.ld, tA, tB};
  with_real("gemm", a.C.dtype, [&](auto real) {
    using T = decltype(real);
    if (s.K == 0) return scale(a.C.as<T>(), a.beta);
    if constexpr (std::is_same_v<T, float>) {
      if (rounds_to_bf16(exec))
        return reporting("gemm", [&] {
          rounded_product(exec, {a.A.as<float>(), tA}, {a.B.as<float>(), tB}, a.beta,
                          a.C.as<float>().data, s.ldc);
        });
    }
    product(s, a.A.as<T>().data, a.B.as<T>().data, a.beta, a.C.as<T>().data);
  });
}

}  // namespace unroll::cpu
