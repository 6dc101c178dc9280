// adam.h: several steps against the formula in double, moments included.
#include "kernels/update/adam.h"

#include "kernels/base/error.h"
#include "tests/kernels/update/update_case.h"

namespace unroll::test {
namespace {

class AdamTest : public OnTargets {
 protected:
  struct State {
    Array<1> theta, m, v, g, norm2, inputs;
    State(const Backend& backend, DType acc, int64_t n)
        : theta(backend, acc, {n}, 8),
          m(backend, acc, {n}, 8),
          v(backend, acc, {n}, 8),
          g(backend, acc, {n}),
          norm2(backend, DType::f64, {1}),
          inputs(backend, DType::f64, {kUpdateInputs}) {
      m.fill(0.0);
      v.fill(0.0);
    }
    Adam args() {
      return {.theta = theta, .m = m, .v = v, .g = g, .norm2 = norm2, .inputs = inputs};
    }
  };
};

TEST_P(AdamTest, FiveStepsEqualTheFormula) {
  struct Betas {
    double beta1, beta2, eps;
  };
  for (const Betas& betas : {Betas{0.9, 0.999, 1e-8}, Betas{0.5, 0.75, 0.1}, Betas{0, 0.99, 1e-3}})
    for (const UpdateCase& c : kUpdateCases)
      for (int64_t n : kUpdateLengths) {
        State s(backend(), acc(), n);
        auto theta = random_values(n, acc(), 1);
        std::vector<double> m(size_t(n), 0), v(size_t(n), 0);
        s.theta.fill(theta);
        for (int step = 1; step <= 5; ++step) {
          const auto g = random_values(n, acc(), unsigned(20 + step), 2);
          s.g.fill(g);
          s.norm2.fill(sum_of_squares(g));
          s.inputs.fill({c.lr, c.clip, double(step)});
          Adam args = s.args();
          args.beta1 = betas.beta1;
          args.beta2 = betas.beta2;
          args.eps = betas.eps;
          args.decay = c.decay;
          adam(exec(), args);
          synchronize();
          const double factor = clip_oracle(c.clip, g);
          for (size_t i = 0; i < theta.size(); ++i) {
            const double g_i = factor * g[i] + c.decay * theta[i];
            m[i] = betas.beta1 * m[i] + (1 - betas.beta1) * g_i;
            v[i] = betas.beta2 * v[i] + (1 - betas.beta2) * g_i * g_i;
            const double m_hat = m[i] / (1 - std::pow(betas.beta1, step));
            const double v_hat = v[i] / (1 - std::pow(betas.beta2, step));
            theta[i] -= c.lr * m_hat / (std::sqrt(v_hat) + betas.eps);
          }
          const double tolerance = acc() == DType::f64 ? 1e-13 : 5e-6;
          expect_close(s.m.read(), m, tolerance, "m");
          expect_close(s.v.read(), v, tolerance, "v");
          expect_close(s.theta.read(), theta, tolerance, "theta");
        }
        EXPECT_TRUE(s.theta.padding_untouched() && s.m.padding_untouched() &&
                    s.v.padding_untouched());
      }
}

TEST_P(AdamTest, NonFiniteNormChangesNothing) {
  State s(backend(), acc(), 33);
  s.theta.fill(random_values(33, acc(), 2));
  s.m.fill(random_values(33, acc(), 3));
  s.v.fill(0.5);
  s.g.fill(1.0);
  s.inputs.fill({0.5, 1, 3});
  const auto theta = s.theta.bytes(), m = s.m.bytes(), v = s.v.bytes();
  for (double bad : {NAN, INFINITY}) {
    s.norm2.fill(bad);
    adam(exec(), s.args());
    synchronize();
    EXPECT_EQ(s.theta.bytes(), theta);
    EXPECT_EQ(s.m.bytes(), m);
    EXPECT_EQ(s.v.bytes(), v);
  }
}

TEST_P(AdamTest, AnyThreadCountIsBitEqual) {
  std::vector<unsigned char> first;
  for (int threads : {1, 2, 3}) {
    Exec e = exec();
    e.threads = threads;
    State s(backend(), acc(), 1001);
    s.theta.fill(random_values(1001, acc(), 4));
    s.g.fill(random_values(1001, acc(), 5));
    s.norm2.fill(333);
    s.inputs.fill({0.5, 3, 1});
    adam(e, s.args());
    synchronize();
    if (first.empty()) first = s.theta.bytes();
    EXPECT_EQ(s.theta.bytes(), first);
  }
}

TEST_P(AdamTest, RefusesBadShapes) {
  State s(backend(), acc(), 33), other(backend(), acc(), 32);
  Adam args = s.args();
  args.v = other.v;
  EXPECT_THROW(adam(exec(), args), Error);
  adam(backend().measuring(), {});
}

UNROLL_ON_TARGETS(AdamTest);

}  // namespace
}  // namespace unroll::test
