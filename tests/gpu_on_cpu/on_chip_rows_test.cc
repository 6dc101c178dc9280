// Rows of logits in the shared memory of clusters, in every division: gradients and losses against
// the equations in f64.
#include "tests/gpu_on_cpu/on_chip_rows.h"

#include <gtest/gtest.h>

#include <random>

#include "kernels/base/dtype.h"
#include "tests/gpu_on_cpu/device_array.h"
#include "tests/oracle/heads.h"

namespace unroll::gpu_on_cpu {
namespace {

struct Case {
  int64_t N, V;
  unsigned cluster, clusters;
  XentOptions options{};
  bool with_bias = true, keeps_bias = true;
};

// Inputs as double, rounded to T where the kernel reads them in T.
template <class T>
struct Problem {
  static constexpr int64_t kD = 3;
  const Case c;
  std::vector<double> x, W, b, dloss;
  std::vector<int32_t> target;

  explicit Problem(const Case& c) : c(c) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    const auto fill = [&](std::vector<double>& v, int64_t n, bool in_f32) {
      for (int64_t i = 0; i < n; ++i) {
        const float value = float(normal(random));
        v.push_back(in_f32 ? value : double(float(T(value))));
      }
    };
    fill(x, c.N * kD, false);
    fill(W, c.V * kD, false);
    if (c.with_bias) fill(b, c.V, true);
    fill(dloss, c.N, true);
    for (int64_t n = 0; n < c.N; ++n) target.push_back(int32_t(random() % unsigned(c.V)));
    target[0] = int32_t(c.V - 1);
    if (c.N > 2) target[2] = -1;
  }
  template <class U>
  static DeviceArray<U> on_device(const std::vector<double>& v) {
    std::vector<U> values;
    for (double d : v) values.push_back(U(float(d)));
    return DeviceArray<U>(values);
  }
};

template <class T>
struct Outcome {
  std::vector<T> z;  // rows of ld
  std::vector<float> loss;
};

constexpr float kCanary = 77;

template <class T>
int64_t stride(int64_t V) {
  constexpr int64_t strip = 16 / int64_t(sizeof(T));
  return (V / strip + 1) * strip;
}

template <class T>
Outcome<T> run(const Problem<T>& p) {
  const Case& c = p.c;
  const int64_t ld = stride<T>(c.V), D = p.kD;
  std::vector<T> z(size_t(c.N * ld), T(kCanary));
  for (int64_t n = 0; n < c.N; ++n)
    for (int64_t v = 0; v < c.V; ++v) {
      double sum = 0;
      for (int64_t d = 0; d < D; ++d) sum += p.x[size_t(n * D + d)] * p.W[size_t(v * D + d)];
      z[size_t(n * ld + v)] = T(float(sum));
    }
  DeviceArray<T> logits(z), x(p.template on_device<T>(p.x)), W(p.template on_device<T>(p.W));
  DeviceArray<float> b(p.template on_device<float>(p.b)),
      dloss(p.template on_device<float>(p.dloss)), loss{size_t(c.N)};
  DeviceArray<int32_t> target(p.target);
  launch_on_chip_rows({.N = c.N,
                       .D = D,
                       .V = c.V,
                       .ld = ld,
                       .z = logits.data(),
                       .x = x.data(),
                       .W = W.data(),
                       .b = c.with_bias ? b.data() : nullptr,
                       .loss = loss.data(),
                       .target = target.data(),
                       .dloss = dloss.data(),
                       .cluster = c.cluster,
                       .clusters = c.clusters,
                       .keeps_bias = c.with_bias && c.keeps_bias,
                       .options = c.options},
                      sizeof(T) == 2);
  return {logits.values(), loss.values()};
}

template <class T>
void expect_equations(const Case& c) {
  const Problem<T> p(c);
  const Outcome<T> got = run(p);
  const double bound = sizeof(T) == 2 ? 8e-3 : 5e-6;
  const int64_t ld = stride<T>(c.V), D = p.kD;
  for (int64_t n = 0; n < c.N; ++n) {
    const auto row = [&](const std::vector<double>& v, int64_t of_a_row) {
      return std::vector<double>(v.begin() + n * of_a_row, v.begin() + (n + 1) * of_a_row);
    };
    const test::HeadOracle expected = test::head_oracle(
        1, D, c.V, row(p.x, D), p.W, p.b, {double(p.target[size_t(n)])}, row(p.dloss, 1),
        {c.options.label_smoothing, c.options.z_loss, c.options.soft_cap});
    EXPECT_NEAR(got.loss[size_t(n)], expected.loss[0], bound * (1 + expected.loss[0])) << n;
    double scale = 0;
    for (double dz : expected.db) scale = std::max(scale, std::abs(dz));
    double worst = 0;
    for (int64_t v = 0; v < c.V; ++v) {
      const double e = std::abs(double(float(got.z[size_t(n * ld + v)])) - expected.db[size_t(v)]);
      if (!(e <= worst)) worst = e;
    }
    EXPECT_LE(worst, bound * scale) << "row " << n;
    for (int64_t v = c.V; v < ld; ++v) ASSERT_EQ(float(got.z[size_t(n * ld + v)]), kCanary);
  }
}

// Blocks without a word, several strips to a thread, several rows to a cluster.
const Case kCases[] = {{5, 37, 1, 2},
                       {5, 37, 8, 1, {}, false},
                       {7, 5001, 2, 2, {}, true, false},
                       {5, 8190, 2, 1},
                       {4, 9001, 4, 1, {.label_smoothing = 0.1, .z_loss = 0.01, .soft_cap = 3}},
                       {2, 20011, 1, 1, {.label_smoothing = 0.1}}};

TEST(OnChipRows, EqualTheEquations) {
  for (const Case& c : kCases) {
    expect_equations<float>(c);
    expect_equations<bf16>(c);
  }
}

// The order in which a row's sums are put together is the same in all blocks and runs.
TEST(OnChipRows, AreTheSameEveryTime) {
  const Problem<float> p({7, 5001, 4, 2});
  const Outcome<float> first = run(p), second = run(p);
  EXPECT_EQ(first.z, second.z);
  EXPECT_EQ(first.loss, second.loss);
}

}  // namespace
}  // namespace unroll::gpu_on_cpu
