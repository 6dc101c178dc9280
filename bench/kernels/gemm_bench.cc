// Matrix products at the shapes of recurrent language models.
#include "bench/harness/roofline.h"
#include "kernels/gemm/gemm.h"

namespace unroll::bench {
namespace {

void add_product(const Bench& bench, const std::string& name, int64_t M, int64_t N, int64_t K,
                 Transpose transpose_A, Transpose transpose_B, bool f32_result) {
  bench.add("gemm/" + name, [=, &bench](Bench::Case& c) {
    const bool ta = transpose_A == Transpose::yes, tb = transpose_B == Transpose::yes;
    const View2 C = c.array(bench, f32_result ? DType::f32 : bench.act(), M, N);
    const View2 A = c.array(bench, bench.act(), ta ? K : M, ta ? M : K);
    const View2 B = c.array(bench, bench.act(), tb ? N : K, tb ? K : N);
    const double es = double(size_of(bench.act()));
    c.work = {.bytes = double(M * K + K * N) * es + double(M * N) * double(size_of(C.dtype)),
              .flops = 2.0 * double(M) * double(N) * double(K)};
    c.body = [exec = bench.exec(), C, A, B, transpose_A, transpose_B] {
      gemm(exec, {.C = C, .A = A, .B = B, .transpose_A = transpose_A, .transpose_B = transpose_B});
    };
  });
}

}  // namespace

void add_gemm(const Bench& bench) {
  constexpr auto no = Transpose::no, yes = Transpose::yes;
  for (const Shape& s : kShapes) {
    const int64_t N = int64_t(s.T) * s.B, H = s.H;
    add_product(bench, "input_projection/" + text_of(s), N, 4 * H, H, no, yes, true);
    add_product(bench, "recurrent_step/" + text_of(s), s.B, 4 * H, H, no, yes, true);
    add_product(bench, "recurrent_step_backward/" + text_of(s), s.B, H, 4 * H, no, no, true);
    add_product(bench, "weight_gradient/" + text_of(s), 4 * H, H, N, yes, no, true);
  }
}

}  // namespace unroll::bench
