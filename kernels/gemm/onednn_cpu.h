// What the CPU's matrix products share of oneDNN's matmul primitive. Primitives come from oneDNN's
// own cache: making one again for a shape seen before takes a microsecond.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>
#include <string>

#include "kernels/base/dtype.h"
#include "kernels/base/error.h"
#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll::cpu {

// Whether products of f32 operands are computed of operands rounded to bf16.
inline bool rounds_to_bf16(const Exec& exec) { return exec.matmul == MatmulMode::bf16; }

// `x` rounded to bf16 and kept as To (bf16, float), rows without gaps.
template <class To>
void round_to_bf16(const Exec& exec, const View<float, 2>& x, To* to) {
#pragma omp parallel for num_threads(exec.threads) if (x.n[0] * x.n[1] > 1 << 15)
  for (int64_t r = 0; r < x.n[0]; ++r) {
    const float* const from = x.row(r);
    To* const row = to + r * x.n[1];
    for (int64_t j = 0; j < x.n[1]; ++j) row[j] = To(bf16(from[j]));
  }
}

// `rows` and `columns` are the distances between neighbours, in elements.
inline dnnl::memory::desc matrix(dnnl::memory::data_type type, int64_t M, int64_t N, int64_t rows,
                                 int64_t columns = 1) {
  return {{M, N}, type, dnnl::memory::dims{rows, columns}};
}

// C = A B + beta C
inline dnnl::matmul::primitive_desc product_of(const dnnl::engine& engine,
                                               const dnnl::memory::desc& A,
                                               const dnnl::memory::desc& B,
                                               const dnnl::memory::desc& C, double beta) {
  dnnl::primitive_attr attributes;
  if (beta != 0) {
    dnnl::post_ops then;
    then.append_sum(float(beta));
    attributes.set_post_ops(then);
  }
  return {dnnl::matmul::desc(A, B, C), attributes, engine};
}

// body(), with oneDNN's errors as ours. Throws Error.
template <class Body>
auto reporting(const char* op, Body&& body) {
  try {
    return body();
  } catch (const dnnl::error& e) {
    throw Error(std::string(op) + ": oneDNN: " + e.what());
  }
}

}  // namespace unroll::cpu
