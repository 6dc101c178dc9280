// gemm.h against three nested loops: all transposes, element types, odd and empty sizes, padded
// rows.
#include "kernels/gemm/gemm.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

struct Case {
  int64_t M, N, K, pad;
  double beta;
};
constexpr Case kCases[] = {{1, 1, 1, 0, 0},    {3, 5, 7, 0, 0},     {17, 33, 65, 3, 1},
                           {1, 37, 13, 8, 0},  {37, 1, 13, 1, .25}, {5, 4, 0, 2, 0.5},
                           {5, 4, 0, 0, 0},    {0, 4, 3, 0, 0},     {4, 0, 3, 0, 1},
                           {20, 40, 10, 0, 1}, {6, 7, 9, 1, 1},     {8, 16, 24, 0, 0}};

class GemmTest : public OnTargets {
 protected:
  void run(const Case& c, Transpose tA, Transpose tB, DType out) { run(exec(), c, tA, tB, out); }
  void run(const Exec& exec, const Case& c, Transpose tA, Transpose tB, DType out) {
    SCOPED_TRACE(testing::Message()
                 << c.M << "x" << c.N << "x" << c.K << " pad " << c.pad << " beta " << c.beta
                 << (tA == Transpose::yes ? " A^T" : "") << (tB == Transpose::yes ? " B^T" : "")
                 << " to " << unroll::name_of(out));
    const bool ta = tA == Transpose::yes, tb = tB == Transpose::yes;
    const int64_t a_rows = ta ? c.K : c.M, a_columns = ta ? c.M : c.K;
    const int64_t b_rows = tb ? c.N : c.K, b_columns = tb ? c.K : c.N;
    Array<2> A(backend(), act(), {a_rows, a_columns}, c.pad);
    Array<2> B(backend(), act(), {b_rows, b_columns}, c.pad);
    Array<2> C(backend(), out, {c.M, c.N}, c.pad), C_again(backend(), out, {c.M, c.N}, c.pad);
    auto a = random_values(A.view.size(), act(), 1), b = random_values(B.view.size(), act(), 2);
    const auto before = random_values(C.view.size(), out, 3);
    A.fill(a);
    B.fill(b);
    const bool rounds = GetParam().matmul == MatmulMode::bf16;
    if (rounds)
      for (auto* values : {&a, &b})
        for (double& v : *values) v = rounded(v, DType::bf16);
    // With beta = 0, C stays NaN and must not be read.
    if (c.beta != 0) C.fill(before), C_again.fill(before);

    std::vector<double> expected(before.size());
    for (int64_t m = 0; m < c.M; ++m)
      for (int64_t n = 0; n < c.N; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < c.K; ++k)
          sum += a[size_t((ta ? k : m) * a_columns + (ta ? m : k))] *
                 b[size_t((tb ? n : k) * b_columns + (tb ? k : n))];
        const size_t at = size_t(m * c.N + n);
        expected[at] = sum + (c.beta == 0 ? 0 : c.beta * before[at]);
      }
    for (Array<2>* to : {&C, &C_again})
      gemm(exec, {.C = *to, .A = A, .B = B, .transpose_A = tA, .transpose_B = tB, .beta = c.beta});
    synchronize();
    // Products of rounded numbers are exact in f32: rounding too little or too much shows.
    expect_close(C.read(), expected,
                 tolerance(rounds ? Target{DeviceKind::cpu, DType::f32} : GetParam()), "C");
    EXPECT_TRUE(C.padding_untouched());
    EXPECT_EQ(C.bytes(), C_again.bytes()) << "two runs differ";
  }
};

TEST_P(GemmTest, EqualsLoops) {
  for (const Case& c : kCases)
    for (Transpose tA : {Transpose::no, Transpose::yes})
      for (Transpose tB : {Transpose::no, Transpose::yes}) {
        run(c, tA, tB, act());
        if (act() == DType::bf16) run(c, tA, tB, DType::f32);
      }
}

// A workspace too small for most of the operands: products are divided by all three sizes.
TEST_P(GemmTest, DividesWhatIsTooLargeForTheWorkspace) {
  if (GetParam().matmul != MatmulMode::bf16) return;
  Exec small = exec();
  small.workspace_bytes = 512;
  for (const Case& c : kCases)
    for (Transpose tA : {Transpose::no, Transpose::yes})
      for (Transpose tB : {Transpose::no, Transpose::yes}) run(small, c, tA, tB, act());
  small.workspace_bytes = 0;
  Array<2> A(backend(), act(), {3, 5}), B(backend(), act(), {5, 7}), C(backend(), act(), {3, 7});
  EXPECT_THROW(gemm(small, {.C = C, .A = A, .B = B}), Error);
}

TEST_P(GemmTest, ShapesThatDoNotFitAreErrors) {
  Array<2> A(backend(), act(), {3, 5}), B(backend(), act(), {4, 7}), C(backend(), act(), {3, 7});
  try {
    gemm(exec(), {.C = C, .A = A, .B = B});
    FAIL() << "no error";
  } catch (const Error& e) {
    const std::string type = unroll::name_of(act());
    EXPECT_EQ(e.what(), "gemm: B is [4,7] " + type + ", expected [K,N] = [5,7] " + type);
  }
  Array<2> ids(backend(), DType::i32, {5, 7});
  EXPECT_THROW(gemm(exec(), {.C = C, .A = A, .B = ids}), Error);
  EXPECT_THROW(gemm(exec(), {.C = C, .A = A, .B = {}}), Error);
}

UNROLL_ON_TARGETS_OF_PRODUCTS(GemmTest);

}  // namespace
}  // namespace unroll::test
