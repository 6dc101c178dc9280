// bias_act.h: forward, gradient, and column sums.
#include "kernels/elementwise/bias_act.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

constexpr Activation kActivations[] = {Activation::none, Activation::tanh, Activation::relu};
struct Dims {
  int64_t N, D;
};
constexpr Dims kDims[] = {{1, 1}, {1, 1001}, {7, 13}, {33, 37}, {300, 66}, {33, 36}};

double apply(Activation act, double x) {
  return act == Activation::tanh ? std::tanh(x) : act == Activation::relu ? std::max(x, 0.0) : x;
}
double slope(Activation act, double y) {
  return act == Activation::tanh ? 1 - y * y : act == Activation::relu ? double(y > 0) : 1.0;
}

using BiasActTest = OnTargets;

TEST_P(BiasActTest, ForwardEqualsTheEquations) {
  for (const Dims& dims : kDims)
    for (Activation activation : kActivations)
      for (bool with_bias : {false, true})
        for (bool in_place : {false, true}) {
          const int64_t N = dims.N, D = dims.D;
          const auto x_values = random_values(N * D, act(), 1, 3),
                     b_values = random_values(D, acc(), 2);
          Array<2> x(backend(), act(), {N, D}, row_pad(D, 3)),
              out(backend(), act(), {N, D}, row_pad(D, 5));
          Array<1> b(backend(), acc(), {D});
          x.fill(x_values);
          b.fill(b_values);
          Array<2>& y = in_place ? x : out;
          bias_act_forward(exec(),
                           {.y = y, .x = x, .b = with_bias ? b.view : View1{}, .act = activation});
          synchronize();
          std::vector<double> expected;
          for (size_t i = 0; i < x_values.size(); ++i)
            expected.push_back(
                apply(activation, x_values[i] + (with_bias ? b_values[i % size_t(D)] : 0)));
          expect_close(y.read(), expected, tolerance(GetParam()), "y");
          EXPECT_TRUE(y.padding_untouched());
        }
}

TEST_P(BiasActTest, BackwardEqualsTheEquations) {
  for (const Dims& dims : kDims)
    for (Activation activation : kActivations)
      for (bool in_place : {false, true}) {
        const int64_t N = dims.N, D = dims.D;
        const auto dy_values = random_values(N * D, act(), 3);
        auto y_values = random_values(N * D, act(), 4);
        for (double& y : y_values)
          y = apply(activation == Activation::relu ? activation : Activation::none, y);
        Array<2> dy(backend(), act(), {N, D}, row_pad(D, 1)),
            y(backend(), act(), {N, D}, row_pad(D, 3)),
            out(backend(), act(), {N, D}, row_pad(D, 5));
        dy.fill(dy_values);
        y.fill(y_values);
        Array<2>& dx = in_place ? dy : out;
        const View2 given = activation == Activation::none ? View2{} : y.view;
        bias_act_backward(exec(), {.dx = dx, .dy = dy, .y = given, .act = activation});
        synchronize();
        std::vector<double> expected;
        for (size_t i = 0; i < dy_values.size(); ++i)
          expected.push_back(dy_values[i] * slope(activation, y_values[i]));
        expect_close(dx.read(), expected, tolerance(GetParam()), "dx");
        EXPECT_TRUE(dx.padding_untouched());
      }
}

// Of sum(dy * act(x + b)), by central differences on the CPU in f64.
TEST(BiasActGradientTest, EqualsCentralDifferences) {
  const Backend backend(Device::cpu(2));
  const int64_t N = 3, D = 5;
  const auto x_values = random_values(N * D, DType::f64, 5),
             b_values = random_values(D, DType::f64, 6),
             dy_values = random_values(N * D, DType::f64, 7);
  for (Activation activation : kActivations) {
    Array<2> x(backend, DType::f64, {N, D}), y(backend, DType::f64, {N, D}),
        dy(backend, DType::f64, {N, D}), dx(backend, DType::f64, {N, D});
    Array<1> b(backend, DType::f64, {D}), db(backend, DType::f64, {D});
    const auto objective = [&](const std::vector<double>& xs, const std::vector<double>& bs) {
      x.fill(xs);
      b.fill(bs);
      bias_act_forward(backend.exec(), {.y = y, .x = x, .b = b, .act = activation});
      const auto ys = y.read();
      double sum = 0;
      for (size_t i = 0; i < ys.size(); ++i) sum += ys[i] * dy_values[i];
      return sum;
    };
    objective(x_values, b_values);
    dy.fill(dy_values);
    bias_act_backward(backend.exec(), {.dx = dx, .dy = dy, .y = y, .act = activation});
    column_sum(backend.exec(), {.sum = db, .x = dx});
    constexpr double h = 1e-5;
    const auto differences = [&](bool of_x) {
      std::vector<double> slopes;
      for (int64_t i = 0; i < (of_x ? N * D : D); ++i) {
        double sides[2];
        for (int side : {0, 1}) {
          auto xs = x_values, bs = b_values;
          (of_x ? xs : bs)[size_t(i)] += side ? h : -h;
          sides[side] = objective(xs, bs);
        }
        slopes.push_back((sides[1] - sides[0]) / (2 * h));
      }
      return slopes;
    };
    expect_close(dx.read(), differences(true), 1e-8, "dx");
    expect_close(db.read(), differences(false), 1e-8, "db");
  }
}

TEST_P(BiasActTest, ColumnSum) {
  for (const Dims& dims : kDims)
    for (Accumulate to : {Accumulate::overwrite, Accumulate::add}) {
      const auto values = random_values(dims.N * dims.D, act(), 8);
      Array<2> x(backend(), act(), {dims.N, dims.D}, row_pad(dims.D, 3));
      Array<1> sum(backend(), acc(), {dims.D}, 4);
      x.fill(values);
      if (to == Accumulate::add) sum.fill(1.0);
      column_sum(exec(), {.sum = sum, .x = x, .to_sum = to});
      synchronize();
      std::vector<double> expected(size_t(dims.D), to == Accumulate::add ? 1.0 : 0.0);
      for (size_t i = 0; i < values.size(); ++i) expected[i % size_t(dims.D)] += values[i];
      // Inputs are exact in every type and sums are kept in acc.
      expect_close(sum.read(), expected, acc() == DType::f64 ? 1e-13 : 2e-6, "column sums");
      EXPECT_TRUE(sum.padding_untouched());
    }
}

TEST_P(BiasActTest, ColumnSumIsBitEqualForAnyThreadCount) {
  Array<2> x(backend(), act(), {300, 1001}, 3);
  x.fill(random_values(300 * 1001, act(), 9));
  std::vector<unsigned char> first;
  for (int threads : {1, 2, 3, 3}) {
    Exec e = exec();
    e.threads = threads;
    Array<1> sum(backend(), acc(), {1001});
    column_sum(e, {.sum = sum, .x = x});
    synchronize();
    if (first.empty()) first = sum.bytes();
    EXPECT_EQ(sum.bytes(), first);
  }
}

TEST_P(BiasActTest, RefusesBadShapes) {
  Array<2> x(backend(), act(), {7, 13}), y(backend(), act(), {7, 12});
  Array<1> b(backend(), acc(), {12});
  EXPECT_THROW(bias_act_forward(exec(), {.y = y, .x = x}), Error);
  EXPECT_THROW(bias_act_forward(exec(), {.y = x, .x = x, .b = b}), Error);
  EXPECT_THROW(bias_act_backward(exec(), {.dx = x, .dy = x, .y = {}, .act = Activation::tanh}),
               Error);
  EXPECT_THROW(column_sum(exec(), {.sum = b, .x = x}), Error);
  bias_act_forward(backend().measuring(), {});
  bias_act_backward(backend().measuring(), {});
  column_sum(backend().measuring(), {});
}

UNROLL_ON_TARGETS(BiasActTest);

}  // namespace
}  // namespace unroll::test
