// cuda::gemm as a plain matrix product on the stream of the BLAS handle.
#include "kernels/gemm/gemm.h"

#include <cstring>
#include <vector>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll::cuda {
namespace {

// Rows of a device matrix as f32.
std::vector<float> load_matrix(const View2& m, bool transposed) {
  const int64_t rows = m.n[0], columns = m.n[1];
  std::vector<float> values(size_t(rows * columns));
  for (int64_t i = 0; i < rows; ++i) {
    const char* row = static_cast<const char*>(m.data) + i * m.ld * int64_t(size_of(m.dtype));
    if (columns) gpu_on_cpu::device_read(row, size_t(columns) * size_of(m.dtype));
    for (int64_t j = 0; j < columns; ++j) {
      const float v = m.dtype == DType::bf16 ? float(reinterpret_cast<const bf16*>(row)[j])
                                             : reinterpret_cast<const float*>(row)[j];
      values[size_t(transposed ? j * rows + i : i * columns + j)] = v;
    }
  }
  return values;
}

// C = A B + beta C, sums in f32; A is [M,K], B is [K,N], both dense.
void multiply(const Gemm& g, const std::vector<float>& A, const std::vector<float>& B) {
  const int64_t M = g.C.n[0], N = g.C.n[1], K = M ? int64_t(A.size()) / M : 0;
  const std::vector<float> old = g.beta != 0 ? load_matrix(g.C, false) : std::vector<float>();
  std::vector<float> sums(static_cast<size_t>(N));
  for (int64_t i = 0; i < M; ++i) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t k = 0; k < K; ++k) {
      const float a = A[size_t(i * K + k)];
      const float* b = &B[size_t(k * N)];
      for (int64_t j = 0; j < N; ++j) sums[size_t(j)] += a * b[j];
    }
    char* row = static_cast<char*>(g.C.data) + i * g.C.ld * int64_t(size_of(g.C.dtype));
    for (int64_t j = 0; j < N; ++j) {
      float v = sums[size_t(j)];
      if (g.beta != 0) v += float(g.beta) * old[size_t(i * N + j)];
      if (g.C.dtype == DType::bf16)
        reinterpret_cast<bf16*>(row)[j] = bf16(v);
      else
        reinterpret_cast<float*>(row)[j] = v;
    }
    if (N) gpu_on_cpu::device_written(row, size_t(N) * size_of(g.C.dtype));
  }
}

}  // namespace

void gemm(const Exec& exec, const Gemm& g) {
  gpu_on_cpu::enqueue(gpu_on_cpu::stream_of(exec.blas),
                      [g, scribble = gpu_on_cpu::scribble_workspace(exec.blas)] {
                        scribble();
                        multiply(g, load_matrix(g.A, g.transpose_A == Transpose::yes),
                                 load_matrix(g.B, g.transpose_B == Transpose::yes));
                      });
}

}  // namespace unroll::cuda
