// The adversarial softmax on the tape, in f64, for one softmax and for a mixture: gradients are
// central differences of a loss written out here, with the moves held where they were; the loss
// that is reported, and everything outside training, knows of no move.
#include "host/ops/adversarial_target.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "host/ops/mixture_softmax.h"
#include "models/output_layer.h"
#include "tests/harness/differences.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Values = std::vector<double>;

constexpr int64_t N = 6, V = 7, E = 4, D = 3;
constexpr double kEps = 0.4;
constexpr int32_t kTarget[N] = {0, 3, -1, 6, 3, 1};

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// The loss of every token. K = 0: one softmax over x [N,E]; else x is [N,D]. `moves` [N,K,E], K at
// least 1, are added to the targets' vectors; where they are empty they are made, and kept.
struct WrittenOut {
  int64_t K;
  Values x, prior, W, b, W_o, b_o;

  Values latent(int64_t n, int64_t k) const {
    if (K == 0) return {x.begin() + n * E, x.begin() + (n + 1) * E};
    Values h;
    for (int64_t e = k * E; e < (k + 1) * E; ++e)
      h.push_back(std::tanh(dot(&W[size_t(e * D)], &x[size_t(n * D)], D) + b[size_t(e)]));
    return h;
  }
  Values losses(Values& moves, double eps) const {
    const int64_t experts = std::max<int64_t>(K, 1);
    const bool make = moves.empty();
    if (make) moves.assign(size_t(N * experts * E), 0);
    Values all(size_t(N), 0);
    for (int64_t n = 0; n < N; ++n) {
      const int32_t y = kTarget[n];
      if (y < 0) continue;
      double joint = 0, priors = 0;
      for (int64_t k = 0; k < experts; ++k) {
        const Values h = latent(n, k);
        const double* w = &W_o[size_t(y * E)];
        double* move = &moves[size_t((n * experts + k) * E)];
        const double ratio = std::sqrt(dot(w, w, E) / dot(h.data(), h.data(), E));  // |w| / |h|
        if (make && dot(w, h.data(), E) > 0)
          for (int64_t e = 0; e < E; ++e) move[e] = -eps * ratio * h[size_t(e)];
        double sum = 0, of_target = 0;
        for (int64_t v = 0; v < V; ++v) {
          double z = dot(&W_o[size_t(v * E)], h.data(), E) + b_o[size_t(v)];
          if (v == y) z += dot(move, h.data(), E);
          sum += std::exp(z);
          if (v == y) of_target = std::exp(z);
        }
        const double prior_k = K ? std::exp(dot(&prior[size_t(k * D)], &x[size_t(n * D)], D)) : 1;
        priors += prior_k;
        joint += prior_k * of_target / sum;
      }
      all[size_t(n)] = -std::log(joint / priors);
    }
    return all;
  }
};

class AdversarialTest : public testing::TestWithParam<int> {
 protected:
  AdversarialTest() {
    const auto values = [](int64_t n, unsigned seed) { return random_values(n, DType::f64, seed); };
    const int64_t K = GetParam();
    o_.K = K;
    o_.x = values(N * (K ? D : E), 1);
    o_.W_o = values(V * E, 2);
    o_.b_o = values(V, 3);
    if (K) {
      o_.prior = values(K * D, 4);
      o_.W = values(K * E * D, 5);
      o_.b = values(K * E, 6);
      head_.K = int(K);
      head_.prior = params_.add("prior", K, D, zero());
      head_.W = params_.add("W", K * E, D, zero());
      head_.b = params_.add("b", K * E, 0, zero());
      head_.W_o = params_.add("W_o", V, E, zero());
      head_.b_o = params_.add("b_o", V, 0, zero());
      held_ = {&o_.prior, &o_.W, &o_.b, &o_.W_o, &o_.b_o};
    } else {
      layer_ = OutputLayer({}, params_, V, E, {}, 0);
      held_ = {&o_.W_o, &o_.b_o};
    }
    params_.materialize(backend_, DType::f64, 3);
    for (size_t i = 0; i < held_.size(); ++i) params_.write(backend_, int(i), held_[i]->data());
    arena_.reserve(1 << 20);
  }

  struct Result {
    Values nll, dx;
    std::vector<Values> gradients;
  };
  Result run(Mode mode) {
    Tape tape(backend_.exec(), arena_, params_, mode, view_of(counter_, 2));
    Result r;
    const Var x = tape.var(tape.tensor(DType::f64, {N, 1, o_.K ? D : E}));
    std::copy(o_.x.begin(), o_.x.end(), static_cast<double*>(x.matrix().data));
    Chunk chunk;
    std::vector<int32_t> target(kTarget, kTarget + N);
    chunk.target = view_of(target.data(), N);
    chunk.weight = view_of(weight_.data(), N);
    chunk.logits_bytes = 128;  // two rows
    const Tensor nll = o_.K ? mixture_softmax_xent(tape, head_, x, chunk.target, chunk.weight,
                                                   chunk.logits_bytes, kEps)
                            : layer_.loss(tape, x, chunk, kEps);
    const double* data = static_cast<const double*>(nll.view<1>().data);
    r.nll.assign(data, data + N);
    if (!mode.record) return r;
    tape.backward();
    const double* dx = static_cast<const double*>(x.slot()->gradient.matrix().data);
    r.dx.assign(dx, dx + o_.x.size());
    for (size_t i = 0; i < held_.size(); ++i) {
      const double* g =
          static_cast<const double*>(params_.gradient_slab().data) + params_.entries()[i].offset;
      r.gradients.emplace_back(g, g + held_[i]->size());
    }
    return r;
  }

  // Of sum_n weight_n loss_n by each of `at`, with moves made at the start and held.
  Values differences(Values& at, double eps) {
    Values moves;
    o_.losses(moves, eps);
    const auto objective = [&] {
      const Values loss = o_.losses(moves, eps);
      return dot(loss.data(), weight_.data(), N);
    };
    return central_differences(at, objective);
  }
  void expect_gradients(const Result& r, double eps) {
    expect_close(r.dx, differences(o_.x, eps), 1e-8, "dx");
    for (size_t i = 0; i < held_.size(); ++i)
      expect_close(r.gradients[i], differences(*held_[i], eps), 1e-8, params_.entries()[i].name);
  }

  Backend backend_{Device::cpu(1)};
  ParamStore params_;
  Arena arena_{Device::cpu(1)};
  uint64_t counter_[2] = {5, 11};
  Values weight_{0.3, -0.2, 5, 0.25, 0.1, 0.4};
  WrittenOut o_;
  std::vector<Values*> held_;  // in the order of the parameters
  MixtureHead head_;
  OutputLayer layer_;
};

TEST_P(AdversarialTest, GradientsAreThoseOfTheMovedTargets) {
  expect_gradients(run(Mode::training()), kEps);
  Values moves;
  o_.losses(moves, kEps);
  const auto zeros = std::count(moves.begin(), moves.end(), 0.0);
  EXPECT_TRUE(zeros > E && zeros < int64_t(moves.size())) << "some are moved, some are not";
}

TEST_P(AdversarialTest, TheReportedLossIsThePlainOne) {
  Values none(size_t(N * std::max(GetParam(), 1) * E), 0);
  const Values plain = o_.losses(none, 0);
  for (const Mode& mode : {Mode::training(), Mode::evaluation(), Mode{false, true}})
    expect_close(run(mode).nll, plain, 1e-13, "nll");
}

TEST_P(AdversarialTest, DynamicEvaluationDoesNotMove) { expect_gradients(run({true, false}), 0); }

INSTANTIATE_TEST_SUITE_P(Mixtures, AdversarialTest, testing::Values(0, 3),
                         [](const auto& info) { return info.param ? "mixture" : "plain"; });

}  // namespace
}  // namespace unroll::test
