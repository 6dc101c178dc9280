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

TEST(PackedGemm, EqualsLoops) {
  for (int threads : {1, 2})
    for (const Case& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.M << "x" << c.N << "x" << c.K << " pad " << c.pad << ", "
                                      << threads << " threads");
      const Backend backend(Device::cpu(threads));
      Array<3> A(backend, DType::f32, {2, c.M, c.K}, c.pad);
      Array<2> B(backend, DType::f32, {c.N, c.K}, c.pad), C(backend, DType::f32, {c.M, c.N});
      const auto a = random_values(2 * c.M * c.K, DType::f32, 1),
                 b = random_values(c.N * c.K, DType::f32, 2);
      A.fill(a);
      B.fill(b);
      const size_t bytes =
          cpu::PackedGemm::scratch_bytes(backend.exec(), int(c.M), int(c.N), int(c.K));
      EXPECT_GE(bytes, size_t(c.N * c.K) * sizeof(float));
      const Buffer packed(backend.device(), MemoryKind::host, bytes);
      cpu::PackedGemm product(backend.exec(), A.view.at(0).as<float>(), B.view.as<float>(),
                              {packed.data(), packed.bytes()});
      // What was packed is what counts.
      B.fill(0);
      for (int64_t step : {0, 1, 0}) {
        std::vector<double> expected;
        for (int64_t m = 0; m < c.M; ++m)
          for (int64_t n = 0; n < c.N; ++n) {
            double sum = 0;
            for (int64_t k = 0; k < c.K; ++k)
              sum += a[size_t((step * c.M + m) * c.K + k)] * b[size_t(n * c.K + k)];
            expected.push_back(sum);
          }
        product.multiply(static_cast<float*>(C.view.data),
                         static_cast<const float*>(A.view.at(step).data));
        expect_close(C.read(), expected, tolerance({DeviceKind::cpu, DType::f32}), "C");
      }
    }
}

TEST(PackedGemm, ScratchTooSmallIsAnError) {
  const Backend backend(Device::cpu(1));
  Array<2> A(backend, DType::f32, {8, 16}), B(backend, DType::f32, {64, 16});
  EXPECT_THROW(
      cpu::PackedGemm(backend.exec(), A.view.as<float>(), B.view.as<float>(), {nullptr, 16}),
      Error);
}

}  // namespace
}  // namespace unroll::test
