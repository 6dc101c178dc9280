// mixture_softmax.h: loss and gradients against probabilities added up, ignored targets, extreme
// experts, log-probabilities of every word.
#include "kernels/heads/mixture_softmax.h"

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/kernels/row_pad.h"

namespace unroll::test {
namespace {

struct Dims {
  int64_t N, K;
};
constexpr Dims kDims[] = {{1, 1}, {7, 3}, {19, 15}, {5, 40}};

struct Expected {
  std::vector<double> loss, da, dnll;
};

// The equations as they read, in double.
Expected expected_of(const Dims& s, const std::vector<double>& a, const std::vector<double>& nll,
                     const std::vector<double>& target, const std::vector<double>& dloss) {
  Expected e;
  for (int64_t n = 0; n < s.N; ++n) {
    double sum = 0, P = 0;
    for (int64_t k = 0; k < s.K; ++k) sum += std::exp(a[size_t(n * s.K + k)]);
    for (int64_t k = 0; k < s.K; ++k)
      P += std::exp(a[size_t(n * s.K + k)]) / sum * std::exp(-nll[size_t(n * s.K + k)]);
    const bool scored = target[size_t(n)] >= 0;
    e.loss.push_back(scored ? -std::log(P) : 0);
    for (int64_t k = 0; k < s.K; ++k) {
      const double pi = std::exp(a[size_t(n * s.K + k)]) / sum;
      const double r = pi * std::exp(-nll[size_t(n * s.K + k)]) / P;
      e.da.push_back(scored ? dloss[size_t(n)] * (pi - r) : 0);
      e.dnll.push_back(scored ? dloss[size_t(n)] * r : 0);
    }
  }
  return e;
}

using MixtureSoftmaxTest = OnTargets;

TEST_P(MixtureSoftmaxTest, EqualsTheEquations) {
  for (const Dims& s : kDims) {
    const auto a = random_values(s.N * s.K, acc(), 1, 3), dloss = random_values(s.N, acc(), 3);
    auto nll = random_values(s.N * s.K, acc(), 2, 4);
    for (double& v : nll) v = rounded(v + 5, acc());
    std::vector<double> target = random_ids(s.N, 9, 4);
    if (s.N > 2) target[2] = -1;
    const Expected expected = expected_of(s, a, nll, target, dloss);
    Array<2> logits(backend(), acc(), {s.N, s.K}, 3), da(backend(), act(), {s.N, s.K}, 5);
    Array<1> nlls(backend(), acc(), {s.N * s.K}), targets(backend(), DType::i32, {s.N}),
        weights(backend(), acc(), {s.N}), loss(backend(), acc(), {s.N}, 2),
        dnll(backend(), acc(), {s.N * s.K}, 2);
    logits.fill(a);
    nlls.fill(nll);
    targets.fill(target);
    weights.fill(dloss);
    MixtureXent args{.loss = loss, .a = logits, .nll = nlls, .target = targets};
    mixture_xent(exec(), args);
    synchronize();
    const auto alone = loss.bytes();
    const double relative = acc() == DType::f64 ? 1e-12 : 5e-6;
    expect_close(loss.read(), expected.loss, relative, "loss");
    args.da = da;
    args.dnll = dnll;
    args.dloss = weights;
    mixture_xent(exec(), args);
    synchronize();
    EXPECT_EQ(loss.bytes(), alone) << "training and evaluation differ";
    expect_close(da.read(), expected.da, tolerance(GetParam()), "da", 0.5);
    expect_close(dnll.read(), expected.dnll, relative, "dnll");
    EXPECT_TRUE(da.padding_untouched());
  }
}

TEST_P(MixtureSoftmaxTest, OneExpertFarAheadAndAllVeryUnlikely) {
  Array<2> a(backend(), acc(), {2, 3});
  Array<1> nll(backend(), acc(), {6}), target(backend(), DType::i32, {2}),
      loss(backend(), acc(), {2});
  a.fill({90, -90, 0, 1, 1, 1});
  nll.fill({3, 1, 2, 400, 500, 600});
  target.fill({0, 0});
  mixture_xent(exec(), {.loss = loss, .a = a, .nll = nll, .target = target});
  synchronize();
  expect_close(loss.read(), {3, 400 + std::log(3.0)}, acc() == DType::f64 ? 1e-12 : 1e-6, "loss");
}

TEST_P(MixtureSoftmaxTest, TargetsAreRepeated) {
  Array<1> target(backend(), DType::i32, {3}), to(backend(), DType::i32, {12}, 2);
  target.fill({5, -1, 7});
  mixture_targets(exec(), {.to = to, .target = target});
  synchronize();
  EXPECT_EQ(to.read(), (std::vector<double>{5, 5, 5, 5, -1, -1, -1, -1, 7, 7, 7, 7}));
}

TEST_P(MixtureSoftmaxTest, ExpertsAddUpToOne) {
  const int64_t N = 3, V = 301, K = 4;
  Array<2> log_p(backend(), acc(), {N, V}, 1), expert(backend(), acc(), {N, V}, 2),
      a(backend(), acc(), {N, K}, 1);
  const auto priors = random_values(N * K, acc(), 1, 3);
  a.fill(priors);
  std::vector<double> expected(size_t(N * V), 0);
  for (int64_t k = 0; k < K; ++k) {
    auto z = random_values(N * V, acc(), unsigned(10 + k), 8);
    for (int64_t n = 0; n < N; ++n) {
      double sum = 0, prior = 0;
      for (int64_t v = 0; v < V; ++v) sum += std::exp(z[size_t(n * V + v)]);
      for (int64_t j = 0; j < K; ++j)
        prior += std::exp(priors[size_t(n * K + j)] - priors[size_t(n * K + k)]);
      for (int64_t v = 0; v < V; ++v) {
        double& log_k = z[size_t(n * V + v)];
        log_k -= std::log(sum);
        expected[size_t(n * V + v)] += std::exp(log_k) / prior;
      }
    }
    expert.fill(z);
    mixture_add_expert(exec(), {.log_p = log_p, .expert = expert, .a = a, .k = int(k)});
    synchronize();
  }
  std::vector<double> got = log_p.read();
  for (int64_t n = 0; n < N; ++n) {
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) sum += std::exp(got[size_t(n * V + v)]);
    EXPECT_NEAR(sum, 1, acc() == DType::f64 ? 1e-13 : 1e-5);
  }
  for (double& e : expected) e = std::log(e);
  expect_close(got, expected, acc() == DType::f64 ? 1e-13 : 1e-6, "log_p");
  EXPECT_TRUE(log_p.padding_untouched());
}

TEST_P(MixtureSoftmaxTest, RefusesBadArguments) {
  Array<2> a(backend(), acc(), {3, 4});
  Array<1> nll(backend(), acc(), {11}), rows(backend(), acc(), {12}),
      target(backend(), DType::i32, {3}), loss(backend(), acc(), {3});
  target.fill({0, 0, 0});
  EXPECT_THROW(mixture_xent(exec(), {.loss = loss, .a = a, .nll = nll, .target = target}), Error);
  EXPECT_THROW(
      mixture_xent(exec(), {.loss = loss, .dnll = rows, .a = a, .nll = rows, .target = target}),
      Error);
  EXPECT_THROW(mixture_add_expert(exec(), {.log_p = a, .expert = a, .a = a, .k = 4}), Error);
  mixture_xent(backend().measuring(), {});
  mixture_targets(backend().measuring(), {});
  mixture_add_expert(backend().measuring(), {});
}

UNROLL_ON_TARGETS(MixtureSoftmaxTest);

}  // namespace
}  // namespace unroll::test
