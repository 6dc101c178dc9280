// Every output layer on the tape, in f64: probabilities that sum to 1 and are those of the loss,
// gradients against central differences, PyTorch's adaptive softmax, rooms for clusters, classes.
#include "models/output_layer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "tests/harness/golden.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Values = std::vector<double>;
using Kind = OutputLayer::Kind;

constexpr int64_t V = 23, D = 8;

struct Case {
  const char* name;
  OutputLayer::Config config;
  bool tied;
};

OutputLayer::Config config_of(Kind kind) {
  OutputLayer::Config c;
  c.kind = kind;
  c.cutoffs = {5, 12, 13};  // one cluster is a single word
  c.div_value = 2;
  c.samples = 7;
  c.q = log_uniform(V);
  c.bounds = {0, 1, 2, 6, 13, 14, V};
  return c;
}

std::vector<Case> cases() {
  std::vector<Case> all = {{"full", config_of(Kind::full), false},
                           {"adaptive", config_of(Kind::adaptive), false},
                           {"adaptive_tied", config_of(Kind::adaptive), true},
                           {"sampled", config_of(Kind::sampled), false},
                           {"nce_tied", config_of(Kind::nce), true},
                           {"class", config_of(Kind::classes), false},
                           {"class_tied", config_of(Kind::classes), true}};
  all.push_back({"adaptive_head_bias", config_of(Kind::adaptive), false});
  all.back().config.head_bias = true;
  for (const bool tied : {false, true}) {
    all.push_back({tied ? "full_options_tied" : "full_options", config_of(Kind::full), tied});
    all.back().config.options = {.label_smoothing = 0.1, .z_loss = 0.05, .soft_cap = 1.5};
  }
  return all;
}

// 0.5 sin(0.7 i + 0.1 sum of the name's letters), as the golden scripts have it.
Values formula(const std::string& name, int64_t n) {
  int k = 0;
  for (const char c : name) k += c;
  Values v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i) v[i] = 0.5 * std::sin(0.7 * double(i) + 0.1 * k);
  return v;
}

struct Layer {
  Backend backend{Device::cpu(1)};
  ParamStore params;
  OutputLayer layer;
  Arena arena{Device::cpu(1)};
  uint64_t counter[2] = {5, 11};
  size_t logits_bytes = 1 << 20;

  explicit Layer(const Case& c) {
    const Param E = c.tied ? params.add("encoder.weight", V, D, uniform(1)) : Param{};
    layer = OutputLayer(c.config, params, V, D, E, 0);
    params.materialize(backend, DType::f64, 3);
    arena.reserve(4 << 20);
    for (size_t i = 0; i < params.entries().size(); ++i)
      write(int(i), formula(params.entries()[i].name, params.entries()[i].size()));
  }
  void write(int index, const Values& v) { params.write(backend, index, v.data()); }
  Values read(int index) const {
    Values v(size_t(params.entries()[size_t(index)].size()));
    params.read(backend, index, v.data());
    return v;
  }
  Values gradient(int index) const {
    const auto& e = params.entries()[size_t(index)];
    const double* g = static_cast<const double*>(params.gradient_slab().data) + e.offset;
    return {g, g + e.size()};
  }

  struct Result {
    Values nll, dx;
  };
  Result run(Values x, std::vector<int32_t> target, Values weight, Mode mode,
             const std::function<Tensor(Tape&, const Var&, const Chunk&)>& loss = {}) {
    const int64_t N = int64_t(target.size());
    // What no one wrote must show.
    std::fill_n(static_cast<double*>(params.gradient_slab().data), params.gradient_slab().n[0],
                NAN);
    Tape tape(backend.exec(), arena, params, mode, view_of(counter, 2));
    Result r;
    Chunk chunk;
    chunk.target = view_of(target.data(), N);
    chunk.weight = view_of(weight.data(), N);
    chunk.logits_bytes = logits_bytes;
    const Var v = tape.var(tape.tensor(DType::f64, {N, 1, D}));
    std::copy(x.begin(), x.end(), static_cast<double*>(v.matrix().data));
    const auto slot = v.slot();
    const Tensor nll = loss ? loss(tape, v, chunk) : layer.loss(tape, v, chunk);
    const double* values = static_cast<const double*>(nll.view<1>().data);
    r.nll.assign(values, values + N);
    if (!mode.record) return r;
    tape.backward();
    const double* dx = static_cast<const double*>(slot->gradient.matrix().data);
    r.dx.assign(dx, dx + N * D);
    return r;
  }
  Values log_probabilities(const Values& x) {
    Tape tape(backend.exec(), arena, params, Mode::evaluation(), view_of(counter, 2));
    const int64_t N = int64_t(x.size()) / D;
    const Var v = tape.var(tape.tensor(DType::f64, {N, 1, D}));
    std::copy(x.begin(), x.end(), static_cast<double*>(v.matrix().data));
    const Tensor log_p = layer.log_probabilities(tape, v);
    const double* values = static_cast<const double*>(log_p.matrix().data);
    return {values, values + N * V};
  }
};

class OutputLayerTest : public testing::TestWithParam<Case> {};

TEST_P(OutputLayerTest, ProbabilitiesSumToOneAndAreThoseOfTheLoss) {
  Layer layer(GetParam());
  const Values row = formula("x", D);
  Values x;
  std::vector<int32_t> target(size_t(V), 0);
  std::iota(target.begin(), target.end(), 0);
  for (int64_t v = 0; v < V; ++v) x.insert(x.end(), row.begin(), row.end());
  const Values nll = layer.run(x, target, Values(size_t(V), 1.0), Mode::evaluation()).nll;
  const Values log_p = layer.log_probabilities(row);
  double sum = 0;
  for (size_t v = 0; v < size_t(V); ++v) {
    EXPECT_NEAR(-nll[v], log_p[v], 1e-12) << v;
    sum += std::exp(log_p[v]);
  }
  EXPECT_NEAR(sum, 1, 1e-12);
}

TEST_P(OutputLayerTest, GradientsEqualCentralDifferences) {
  // Duplicates, ignored rows, and clusters and classes that no row is in.
  const std::vector<int32_t> target = {0, 22, 4, -1, 12, 22, 1, 5, 15, -1, 0};
  const int64_t N = int64_t(target.size());
  Values x = formula("x", N * D), weight;
  for (int64_t n = 0; n < N; ++n) weight.push_back(0.1 * double(n + 1));
  for (const size_t logits_bytes : {size_t(1) << 20, size_t(700)}) {
    Layer layer(GetParam());
    layer.logits_bytes = logits_bytes;
    const auto objective = [&] {
      const Values nll = layer.run(x, target, weight, Mode::training()).nll;
      return std::inner_product(nll.begin(), nll.end(), weight.begin(), 0.0);
    };
    const Layer::Result r = layer.run(x, target, weight, Mode::training());
    EXPECT_EQ(r.nll[3], 0);
    std::vector<Values> gradients;
    for (size_t i = 0; i < layer.params.entries().size(); ++i)
      gradients.push_back(layer.gradient(int(i)));
    const double h = 1e-5;
    const auto slopes = [&](Values& at, const std::function<void()>& moved) {
      Values slope;
      for (double& v : at) {
        const double old = v;
        const auto value = [&](double to) {
          v = to;
          moved();
          return objective();
        };
        const double up = value(old + h), down = value(old - h);
        v = old;
        slope.push_back((up - down) / (2 * h));
      }
      moved();
      return slope;
    };
    expect_close(r.dx, slopes(x, [] {}), 1e-8, "dx");
    for (size_t i = 0; i < gradients.size(); ++i) {
      Values w = layer.read(int(i));
      expect_close(gradients[i], slopes(w, [&] { layer.write(int(i), w); }), 1e-8,
                   layer.params.entries()[i].name);
    }
  }
}

TEST_P(OutputLayerTest, WithoutNoiseAllLayersAreExactAndDifferentiable) {
  Layer layer(GetParam());
  const std::vector<int32_t> target = {3, 17, 8, 17};
  const Values x = formula("x", 4 * D), weight(4, 0.25);
  const Layer::Result read = layer.run(x, target, weight, Mode::evaluation());
  EXPECT_EQ(read.nll, layer.run(x, target, weight, Mode{true, false}).nll);
}

// By the definitions: a cap wherever the model is used, smoothing and z-loss in training alone.
TEST(OutputLayerOptionsTest, CapIsOfTheModelSmoothingAndZLossOfTraining) {
  const double s = 0.2, k = 0.3, cap = 0.8;
  Case c{"options", config_of(Kind::full), false};
  c.config.options = {.label_smoothing = s, .z_loss = k, .soft_cap = cap};
  Layer layer(c);
  const Values x = formula("x", D), W = layer.read(0), b = layer.read(1);
  Values z(size_t(V), 0.0);
  double sum = 0, total = 0;
  for (size_t v = 0; v < size_t(V); ++v) {
    for (size_t d = 0; d < size_t(D); ++d) z[v] += W[v * size_t(D) + d] * x[d];
    z[v] = cap * std::tanh((z[v] + b[v]) / cap);
    sum += std::exp(z[v]);
    total += z[v];
  }
  const double lse = std::log(sum);
  const auto nll = [&](Mode mode) { return layer.run(x, {17}, {1.0}, mode).nll[0]; };
  EXPECT_NEAR(nll(Mode::evaluation()), lse - z[17], 1e-12);
  EXPECT_NEAR(nll(Mode{true, false}), lse - z[17], 1e-12) << "as dynamic evaluation scores";
  EXPECT_NEAR(nll(Mode::training()), lse - (1 - s) * z[17] - s * total / double(V) + k * lse * lse,
              1e-12);
  EXPECT_NEAR(layer.log_probabilities(x)[17], z[17] - lse, 1e-12);
}

INSTANTIATE_TEST_SUITE_P(Kinds, OutputLayerTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.name; });

TEST(AdaptiveSoftmaxTest, EqualsPyTorch) {
  const Golden golden = read_golden(UNROLL_GOLDEN_DIR "/torch_adaptive.txt", GoldenSettings::none);
  OutputLayer::Config config = config_of(Kind::adaptive);
  config.cutoffs = {5, 12};
  config.head_bias = true;
  Layer layer({"golden", config, false});
  const int64_t N = 9;
  std::vector<int32_t> target;
  Values weight;
  for (int64_t n = 0; n < N; ++n) {
    target.push_back(int32_t((n * n + 3 * n) / 2 % V));
    weight.push_back(0.1 * double(n + 1));
  }
  const Values x = formula("x", N * D);
  const Layer::Result r = layer.run(x, target, weight, Mode::training());
  expect_close(r.nll, golden.at("loss rows"), 1e-9, "loss");
  expect_close(r.dx, golden.at("gradient x"), 1e-9, "dx");
  for (size_t i = 0; i < layer.params.entries().size(); ++i) {
    const std::string& name = layer.params.entries()[i].name;
    expect_close(layer.gradient(int(i)), golden.at("gradient " + name), 1e-9, name);
  }
  EXPECT_EQ(golden.tensors.size(), layer.params.entries().size() + 3)
      << "a parameter of PyTorch's is missing";
  expect_close(layer.log_probabilities(x), golden.at("log_p rows"), 1e-9, "log p");
}

TEST(AdaptiveSoftmaxTest, RoomDoesNotChangeTheResultUnlessItIsTooSmall) {
  for (const bool tied : {false, true}) {
    ParamStore params;
    const Backend backend(Device::cpu(1));
    AdaptiveHead head;
    head.bounds = {0, 5, 12, V};
    head.groups = params.add_constant(DType::i32, {0, 5, 12, double(V)});
    head.clusters = params.add_constant(DType::i32, {0, 7, double(V - 5)});
    head.W = params.add("W", tied ? V : 7, D, uniform(1));
    if (tied) {
      head.b = params.add("b", V, 0, uniform(1));
      head.K = params.add("K", 2, D, uniform(1));
      head.k = params.add("k", 2, 0, uniform(1));
    } else {
      head.tails = {{params.add("P0", 4, D, uniform(1)), params.add("U0", 7, 4, uniform(1))},
                    {params.add("P1", 2, D, uniform(1)), params.add("U1", V - 12, 2, uniform(1))}};
    }
    params.materialize(backend, DType::f64, 3);
    Arena arena(Device::cpu(1));
    arena.reserve(1 << 20);
    uint64_t counter[2] = {};
    std::vector<int32_t> target = {0, 22, 6, 14, -1, 22, 7, 3, 13, 20, 4, 2, 1, 1, 19, 2, 0};
    Values weight(target.size(), 0.5);
    const int64_t N = int64_t(target.size());
    const auto loss = [&](const std::vector<int64_t>& room) {
      Tape tape(backend.exec(), arena, params, Mode::evaluation(), view_of(counter, 2));
      const Var x = tape.var(tape.tensor(DType::f64, {N, 1, D}));
      const Values values = formula("x", N * D);
      std::copy(values.begin(), values.end(), static_cast<double*>(x.matrix().data));
      const Tensor nll = adaptive_softmax_xent(tape, head, x, view_of(target.data(), N),
                                               view_of(weight.data(), N), 1 << 16, room);
      const double* at = static_cast<const double*>(nll.view<1>().data);
      return Values(at, at + N);
    };
    const std::vector<int64_t> room = adaptive_room(head, target);
    EXPECT_EQ(room, (std::vector<int64_t>{2, 6}));  // 2 and 6 rows, in steps of 2
    EXPECT_EQ(loss(room), loss({}));
    const Values lacking = loss({2, 5});
    EXPECT_TRUE(std::isnan(lacking[1])) << "the first row of the cluster without room";
  }
}

TEST(ClassSoftmaxTest, ClassesHaveEqualSharesOfTheRootsOfCounts) {
  // Roots 6, 3, 2, 1, 1, 1, 1, 1 of 16: their sum passes 4, 8 and 12 with words 0, 1 and 3.
  EXPECT_EQ(class_bounds({36, 9, 4, 1, 1, 1, 1, 0}, 4), (std::vector<int64_t>{0, 1, 2, 4, 8}));
  EXPECT_EQ(class_bounds({1, 1, 1, 1}, 2), (std::vector<int64_t>{0, 2, 4}));
  EXPECT_EQ(class_bounds({5, 4, 3}, 1), (std::vector<int64_t>{0, 3}));
  const std::vector<int64_t> many = class_bounds(std::vector<uint64_t>(100, 7), 100);
  EXPECT_EQ(many.size(), 101u);
}

}  // namespace
}  // namespace unroll::test
