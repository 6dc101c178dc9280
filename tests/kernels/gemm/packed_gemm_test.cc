// packed_gemm.h against nested loops, on shapes of the recurrence.
#include "kernels/gemm/packed_gemm.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

struct Case {
  int64_t M, N, K, pad;
};
constexpr Case kCases[] = {{1, 1, 1, 0},    {8, 52, 13, 0},    {9, 132, 33, 5},   {20, 800, 200, 0},
                           {5, 148, 37, 3}, {33, 260, 65, 63}, {64, 256, 64, 192}};

class PackedGemm : public testing::TestWithParam<MatmulMode> {
 protected:
  void run(const Case& c, Transpose tB, double beta, int threads) {
    const bool transposed = tB == Transpose::yes;
    SCOPED_TRACE(testing::Message() << c.M << "x" << c.N << "x" << c.K << " pad " << c.pad
                                    << (transposed ? ", B^T" : "") << " beta " << beta << ", "
                                    << threads << " threads");
    const Backend backend(Device::cpu(threads), GetParam());
    const size_t bytes = cpu::PackedGemm::scratch_bytes(backend.exec(), {c.M, c.N, c.K});
    if (bytes == 0) {
      ASSERT_EQ(GetParam(), MatmulMode::bf16);
      GTEST_SKIP() << "this processor does not multiply bf16";
    }
    Array<3> A(backend, DType::f32, {2, c.M, c.K}, c.pad);
    Array<2> B(backend, DType::f32, {transposed ? c.N : c.K, transposed ? c.K : c.N}, c.pad);
    Array<2> C(backend, DType::f32, {c.M, c.N});
    // Sums of products of rounded numbers are exact in f32, or nearly so: a product that rounds
    // too little or too much shows.
    const bool rounds = GetParam() == MatmulMode::bf16;
    const DType kept = rounds ? DType::bf16 : DType::f32;
    const auto a = random_values(2 * c.M * c.K, DType::f32, 1),
               b = random_values(c.N * c.K, DType::f32, 2),
               before = random_values(c.M * c.N, DType::f32, 3);
    A.fill(a);
    B.fill(b);
    const Buffer scratch(backend.device(), MemoryKind::host, bytes);
    cpu::PackedGemm product(backend.exec(), A.view.at(0).as<float>(), B.view.as<float>(), tB, beta,
                            {scratch.data(), scratch.bytes()});
    B.fill(0);  // what was packed is what counts
    for (int64_t step : {0, 1, 0}) {
      std::vector<double> expected;
      for (int64_t m = 0; m < c.M; ++m)
        for (int64_t n = 0; n < c.N; ++n) {
          double sum = beta == 0 ? 0 : beta * before[size_t(m * c.N + n)];
          for (int64_t k = 0; k < c.K; ++k)
            sum += rounded(a[size_t((step * c.M + m) * c.K + k)], kept) *
                   rounded(b[size_t(transposed ? n * c.K + k : k * c.N + n)], kept);
          expected.push_back(sum);
        }
      C.fill(beta == 0 ? std::vector<double>(before.size(), NAN) : before);
      product.multiply(static_cast<float*>(C.view.data),
                       static_cast<const float*>(A.view.at(step).data));
      expect_close(C.read(), expected, tolerance({DeviceKind::cpu, DType::f32}), "C");
    }
  }
};

TEST_P(PackedGemm, EqualsLoops) {
  for (int threads : {1, 2})
    for (const Case& c : kCases)
      for (Transpose tB : {Transpose::no, Transpose::yes})
        for (double beta : {0.0, 1.0}) run(c, tB, beta, threads);
}

TEST_P(PackedGemm, ScratchTooSmallIsAnError) {
  const Backend backend(Device::cpu(1));
  Array<2> A(backend, DType::f32, {8, 16}), B(backend, DType::f32, {64, 16});
  EXPECT_THROW(cpu::PackedGemm(backend.exec(), A.view.as<float>(), B.view.as<float>(),
                               Transpose::yes, 0, {nullptr, 16}),
               Error);
}

INSTANTIATE_TEST_SUITE_P(Modes, PackedGemm, testing::Values(MatmulMode::f32, MatmulMode::bf16),
                         [](const auto& info) {
                           return info.param == MatmulMode::bf16 ? "bf16" : "f32";
                         });

}  // namespace
}  // namespace unroll::test
