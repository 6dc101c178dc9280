// Gradients of one layer in both directions, full and padded lanes, against central differences in
// f64.
#include <gtest/gtest.h>

#include "host/ops/recurrent_stack.h"
#include "host/train/state.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

constexpr int T = 5, B = 3, I = 4, H = 3;

struct Layer {
  Backend backend{Device::cpu(1)};
  ParamStore params;
  Arena arena{Device::cpu(1)};
  RecurrentParams forward, reverse;
  std::vector<double> x, weights_of_y;
  Cell cell;
  bool padded;
  int32_t keep[B] = {1, 0, 1}, lengths[B] = {5, 2, 4};
  uint64_t counter[2] = {1, 2};

  Layer(Cell cell, bool padded) : cell(cell), padded(padded) {
    const int GH = info_of(cell).gates * H;
    for (RecurrentParams* p : {&forward, &reverse}) {
      const std::string end = p == &forward ? "" : "_reverse";
      p->W = params.add("W" + end, GH, I, uniform(0.8));
      p->R = params.add("R" + end, GH, H, uniform(0.8));
      p->b_W = params.add("b_W" + end, GH, 0, uniform(0.8));
      p->b_R = params.add("b_R" + end, GH, 0, uniform(0.8));
    }
    params.materialize(backend, DType::f64, 5);
    arena.reserve(1 << 20);
    for (int i = 0; i < T * B * I; ++i) x.push_back(std::sin(1.3 * i));
    for (int i = 0; i < T * B * 2 * H; ++i) weights_of_y.push_back(std::cos(0.7 * i));
  }

  // sum of weights times y; gradients on request.
  double objective(std::vector<double>* dx = nullptr) {
    const std::vector<StateShape> shape(2, {H, info_of(cell).states == 2});
    State state(backend, shape, B, DType::f64);
    for (size_t i = 0; i < state.memory().bytes() / 8; ++i)
      state.memory().as<double>()[i] = 0.3 * std::sin(double(i) + 1);
    Tape tape(backend.exec(), arena, params, Mode::training(), view_of(counter, 2));
    Var in = tape.var(tape.tensor(DType::f64, {T, B, I}));
    std::copy(x.begin(), x.end(), static_cast<double*>(in.matrix().data));
    double sum = 0;
    {
      const Var y = bidirectional_layer(tape, cell, forward, reverse, in, state[0], state[1],
                                        view_of(keep, B), padded ? view_of(lengths, B) : View1{});
      EXPECT_EQ(y.value().extent(2), 2 * H);
      const GradientSink<2> dy = tape.gradient_sink(y.slot());
      for (int t = 0; t < T; ++t)
        for (int b = 0; b < B; ++b)
          for (int j = 0; j < 2 * H; ++j) {
            const size_t at = size_t((t * B + b) * 2 * H + j);
            const bool counts = !padded || t < lengths[b];
            static_cast<double*>(dy.view.data)[at] = counts ? weights_of_y[at] : 0;
            if (counts) sum += weights_of_y[at] * static_cast<double*>(y.matrix().data)[at];
          }
    }
    tape.backward();
    if (dx) {
      const double* d = static_cast<double*>(in.slot()->gradient.matrix().data);
      dx->assign(d, d + x.size());
    }
    return sum;
  }
};

class BidirectionalTest : public testing::TestWithParam<std::tuple<Cell, bool>> {};

TEST_P(BidirectionalTest, EqualsCentralDifferences) {
  const auto [cell, padded] = GetParam();
  Layer layer(cell, padded);
  std::vector<double> dx;
  layer.objective(&dx);
  const double* slab = static_cast<double*>(layer.params.gradient_slab().data);
  const std::vector<double> gradients(slab, slab + layer.params.gradient_slab().n[0]);
  const double h = 1e-6;
  const auto difference = [&](double& value) {
    const double was = value;
    value = was + h;
    const double up = layer.objective();
    value = was - h;
    const double down = layer.objective();
    value = was;
    return (up - down) / (2 * h);
  };
  std::vector<double> expected;
  for (double& value : layer.x) expected.push_back(difference(value));
  expect_close(dx, expected, 1e-8, "dx");
  double* weights = static_cast<double*>(layer.params.slab().data);
  for (const ParamStore::Entry& e : layer.params.entries()) {
    std::vector<double> got, numeric;
    for (int64_t i = 0; i < e.size(); ++i) {
      got.push_back(gradients[size_t(e.offset + i)]);
      numeric.push_back(difference(weights[e.offset + i]));
    }
    expect_close(got, numeric, 1e-8, e.name);
  }
}

TEST_P(BidirectionalTest, TheReverseDirectionSeesTheFuture) {
  const auto [cell, padded] = GetParam();
  Layer layer(cell, padded);
  // Only y at the first step of lane 0 counts: what comes later reaches it through the reverse
  // direction alone.
  for (size_t i = 0; i < layer.weights_of_y.size(); ++i) layer.weights_of_y[i] = i < 2 * H ? 1 : 0;
  std::vector<double> dx;
  layer.objective(&dx);
  EXPECT_NE(dx[size_t(4 * B) * I], 0);      // lane 0, last step
  EXPECT_EQ(dx[size_t(4 * B + 1) * I], 0);  // lane 1
}

INSTANTIATE_TEST_SUITE_P(Cells, BidirectionalTest,
                         testing::Combine(testing::Values(Cell::tanh, Cell::relu, Cell::lstm,
                                                          Cell::gru),
                                          testing::Bool()),
                         [](const auto& info) {
                           return std::string(info_of(std::get<0>(info.param)).name) +
                                  (std::get<1>(info.param) ? "_padded" : "");
                         });

}  // namespace
}  // namespace unroll::test
