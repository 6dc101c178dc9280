// What follows on a chunk sends gradients of its last h and c back into it, and it those of the h
// and c that were carried in: through parts in the persistent schedule, the one that hands them on
// (backward_part.h); in the others truncated BPTT cuts them.
#if defined(UNROLL_WITH_CUDA)
#include "kernels/recurrent/backward_part.h"
#include "tests/kernels/recurrent/complex_step.h"
#include "tests/kernels/recurrent/persistent_case.h"

namespace unroll::test {
namespace {

using Wide = oracle::Layer<Complex>;

// dh += R^T dRh, of one step.
void add_through_R(const oracle::Layer<double>& a, const double* dRh, double* dh) {
  const int GH = a.G() * a.H;
  for (int b = 0; b < a.B; ++b)
    for (int row = 0; row < GH; ++row)
      for (int u = 0; u < a.H; ++u)
        dh[b * a.H + u] += dRh[b * GH + row] * a.R[size_t(row * a.H + u)];
}

using CarriedGradientTest = PersistentSuite;

TEST_P(CarriedGradientTest, EntersAtTheEndAndLeavesAtTheStart) {
  const RecurrentCase c = {4, 3, 17, false, false, true, true, 3};
  for (const Cell cell : oracle::kAllCells) {
    SCOPED_TRACE(info_of(cell).name);
    const oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    RecurrentArrays arrays(backend(), layer, GetParam(), c.pad, Schedule::persistent);
    const size_t states = size_t(c.B * c.H), outputs = states * size_t(c.T);
    const auto dh = random_values(int64_t(outputs), act(), 9);
    const auto dRh_T = random_values(arrays.B * arrays.GH, act(), 10);
    const auto past_R_T = random_values(int64_t(2 * states), DType::f32, 11);
    arrays.dh.fill(dh);
    Array<2> dRh_next(backend(), act(), {arrays.B, arrays.GH}, 1);
    dRh_next.fill(dRh_T);
    Array<3> past_R(backend(), DType::f32, {2, c.B, c.H}, 2);
    past_R.fill(past_R_T);
    recurrent_forward(exec(), arrays.forward_args());
    recurrent_backward_part(exec(), arrays.backward_args(),
                            {.dRh_next = dRh_next, .past_R = past_R});
    synchronize();

    // What enters is a gradient of the last output, and one of the last c.
    std::vector<double> dh_all = dh, dc_T(past_R_T.begin() + long(states), past_R_T.end());
    double* dh_T = &dh_all[outputs - states];
    for (size_t i = 0; i < states; ++i) dh_T[i] += past_R_T[i];
    add_through_R(layer, dRh_T.data(), dh_T);
    if (!arrays.two_states) dc_T.clear();
    const Wide wide = widened(layer);
    const auto derivatives = [&](std::vector<Complex> Wide::*input, size_t n) {
      std::vector<double> all;
      for (size_t i = 0; i < n; ++i) all.push_back(layer_derivative(wide, dh_all, input, i, dc_T));
      return all;
    };
    const auto expect_near = [&](const std::vector<double>& got,
                                 const std::vector<double>& expected, const char* what) {
      EXPECT_LT(norm_error(got, expected), norm_limits(GetParam()).norm) << what;
      expect_close(got, expected, tolerance(GetParam()), what);
    };
    expect_near(arrays.dWx.read(), derivatives(&Wide::Wx, layer.Wx.size()), "dWx");
    const auto past_R_0 = past_R.read();
    std::vector<double> dh_0(past_R_0.begin(), past_R_0.begin() + long(states));
    add_through_R(layer, (arrays.split ? arrays.dRh : arrays.dWx).read().data(), dh_0.data());
    expect_near(dh_0, derivatives(&Wide::h, states), "dh_0");
    if (arrays.two_states)
      expect_near({past_R_0.begin() + long(states), past_R_0.end()}, derivatives(&Wide::c, states),
                  "dc_0");
    EXPECT_TRUE(past_R.padding_untouched());
  }
}

UNROLL_ON_GPU_PRECISIONS(CarriedGradientTest);

}  // namespace
}  // namespace unroll::test
#endif
