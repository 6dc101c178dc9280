// How rounding grows over many steps, against the f64 oracle.
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

#if !defined(UNROLL_GPU_ON_CPU)

using LongSequenceTest = RecurrentTest;

TEST_P(LongSequenceTest, ErrorsStaySmallOver513Steps) {
  if (act() != DType::f32) return;
  const RecurrentCase c = {513, 3, 33, false, false, true, true, 0};
  for (const Cell cell : {Cell::lstm, Cell::gru}) {
    oracle::Layer<double> layer = random_layer(cell, c, GetParam());
    const auto dh = random_values(int64_t(c.T) * c.B * c.H, act(), 9);
    oracle::Layer<double> reference = layer;
    reference.forward();
    const oracle::LayerGradient expected = oracle::gradient(reference, dh);
    for (const Schedule schedule : schedules(GetParam())) {
      SCOPED_TRACE(testing::Message() << info_of(cell).name << " " << name_of(schedule));
      RecurrentArrays arrays(backend(), layer, GetParam(), 0, schedule);
      arrays.dh.fill(dh);
      recurrent_forward(exec(), arrays.forward_args());
      recurrent_backward(exec(), arrays.backward_args());
      recurrent_weight_gradients(exec(), arrays.weight_args(Accumulate::overwrite));
      synchronize();
      const double limit = norm_limits(GetParam()).norm;
      EXPECT_LT(norm_error(arrays.h.read(), reference.h), limit);
      EXPECT_LT(norm_error(arrays.dWx.read(), expected.dWx), limit);
      EXPECT_LT(norm_error(arrays.dR.read(), expected.dR), limit);
      EXPECT_LT(norm_error(arrays.db_W.read(), expected.db_W), limit);
    }
  }
}

// A forget gate near 1 makes c the sum of some hundred steps. In bf16 c is kept in f32, and h alone
// is rounded, by no more than 2^-9 of itself. So what a step adds to c is off by about that much of
// itself, each step apart from the others: their sum is off by no more of it than one of them.
TEST_P(LongSequenceTest, CellStateDoesNotDriftOver4096Steps) {
  const RecurrentCase c = {4096, 2, 16, false, false, true, true, 0};
  oracle::Layer<double> layer = random_layer(Cell::lstm, c, GetParam());
  for (int u = 0; u < c.H; ++u) layer.b_W[size_t(c.H + u)] = 5;
  oracle::Layer<double> reference = layer;
  reference.forward();
  for (const Schedule schedule : schedules(GetParam())) {
    SCOPED_TRACE(name_of(schedule));
    RecurrentArrays arrays(backend(), layer, GetParam(), 0, schedule);
    recurrent_forward(exec(), arrays.forward_args());
    synchronize();
    const NormLimits limits = norm_limits(GetParam());
    const double limit = act() == DType::bf16 ? limits.rounding : limits.norm;
    const auto last = [&](const std::vector<double>& c_all) {
      return std::vector<double>(c_all.end() - c.B * c.H, c_all.end());
    };
    EXPECT_LT(norm_error(last(arrays.c.read()), last(reference.c)), limit);
  }
}

UNROLL_ON_TARGETS_OF_PRODUCTS(LongSequenceTest);

#endif

}  // namespace
}  // namespace unroll::test
