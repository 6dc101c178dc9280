// The matrix product on the CPU: oneDNN in f32, OpenBLAS in f64 (oneDNN has no f64). oneDNN
// generates its f32 kernels for the processor at hand; OpenBLAS picks one of those it was built
// with, and on a processor newer than itself falls back to one without vector units worth the name.
#include <cblas.h>
#include <oneapi/dnnl/dnnl.h>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/cpu_threads.h"
#include "kernels/base/error.h"
#include "kernels/gemm/gemm.h"

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

// C = beta C: what is left of a product without terms.
template <class T>
void scale(const View<T, 2>& C, double beta) {
  for (int64_t m = 0; m < C.rows(); ++m)
    for (int64_t n = 0; n < C.columns(); ++n) C(m, n) = beta == 0 ? T(0) : T(beta) * C(m, n);
}

}  // namespace

void gemm(const Exec& exec, const Gemm& a) {
  use_threads(exec);
  const bool tA = a.transpose_A == Transpose::yes, tB = a.transpose_B == Transpose::yes;
  const Sizes s = {a.C.n[0], a.C.n[1], tA ? a.A.n[0] : a.A.n[1], a.A.ld, a.B.ld, a.C.ld, tA, tB};
  with_real("gemm", a.C.dtype, [&](auto real) {
    using T = decltype(real);
    if (s.K == 0)
      scale(a.C.as<T>(), a.beta);
    else
      product(s, a.A.as<T>().data, a.B.as<T>().data, a.beta, a.C.as<T>().data);
  });
}

}  // namespace unroll::cpu
