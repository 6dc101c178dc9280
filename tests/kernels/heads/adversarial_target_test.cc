// adversarial_target.h with linear_softmax_xent: margins, losses and gradients against the moved
// matrix in f64, which itself is checked by differences; certain and hopeless targets.
#include "kernels/heads/adversarial_target.h"

#include "kernels/base/error.h"
#include "tests/harness/differences.h"
#include "tests/kernels/heads/xent_problem.h"

namespace unroll::test {
namespace {

constexpr double kEps = 0.3;

struct Moved {
  std::vector<double> shift, noise;  // [N], [N,D]: w_y' - w_y of every row
};

Moved move(const Problem& p) {
  const int64_t N = p.dims.N, D = p.dims.D;
  Moved m{std::vector<double>(size_t(N), 0), std::vector<double>(size_t(N * D), 0)};
  for (int64_t n = 0; n < N; ++n) {
    const int64_t y = int64_t(p.target[size_t(n)]);
    if (y < 0) continue;
    double xx = 0, ww = 0, xw = 0;
    for (int64_t d = 0; d < D; ++d) {
      const double x = p.x[size_t(n * D + d)], w = p.W[size_t(y * D + d)];
      xx += x * x;
      ww += w * w;
      xw += x * w;
    }
    if (xw <= 0) continue;
    m.shift[size_t(n)] = kEps * std::sqrt(xx * ww);
    for (int64_t d = 0; d < D; ++d)
      m.noise[size_t(n * D + d)] = -kEps * std::sqrt(ww / xx) * p.x[size_t(n * D + d)];
  }
  return m;
}

// The loss of every row with its target's vector moved by `noise`, which does not follow x and W.
std::vector<double> moved_loss(const Problem& p, const std::vector<double>& noise) {
  const int64_t N = p.dims.N, D = p.dims.D, V = p.dims.V;
  std::vector<double> loss(size_t(N), 0);
  for (int64_t n = 0; n < N; ++n) {
    const int64_t y = int64_t(p.target[size_t(n)]);
    if (y < 0) continue;
    double sum = 0, of_target = 0;
    for (int64_t v = 0; v < V; ++v) {
      double z = p.b.empty() ? 0 : p.b[size_t(v)];
      for (int64_t d = 0; d < D; ++d)
        z += (p.W[size_t(v * D + d)] + (v == y ? noise[size_t(n * D + d)] : 0)) *
             p.x[size_t(n * D + d)];
      sum += std::exp(z);
      if (v == y) of_target = z;
    }
    loss[size_t(n)] = std::log(sum) - of_target;
  }
  return loss;
}

// loss, dx, dW and db of the moved matrix: the plain oracle with every row's own W.
HeadOracle moved_oracle(const Problem& p, const std::vector<double>& noise) {
  const int64_t N = p.dims.N, D = p.dims.D, V = p.dims.V;
  HeadOracle all;
  all.loss.assign(size_t(N), 0);
  all.dx.assign(size_t(N * D), 0);
  all.dW.assign(size_t(V * D), 0);
  all.db.assign(size_t(V), 0);
  for (int64_t n = 0; n < N; ++n) {
    const int64_t y = int64_t(p.target[size_t(n)]);
    if (y < 0) continue;
    std::vector<double> W = p.W;
    for (int64_t d = 0; d < D; ++d) W[size_t(y * D + d)] += noise[size_t(n * D + d)];
    const std::vector<double> x(p.x.begin() + n * D, p.x.begin() + (n + 1) * D);
    const HeadOracle row =
        head_oracle(1, D, V, x, W, p.b, {p.target[size_t(n)]}, {p.dloss[size_t(n)]});
    all.loss[size_t(n)] = row.loss[0];
    std::copy(row.dx.begin(), row.dx.end(), all.dx.begin() + n * D);
    for (size_t i = 0; i < row.dW.size(); ++i) all.dW[i] += row.dW[i];
    for (size_t i = 0; i < row.db.size(); ++i) all.db[i] += row.db[i];
  }
  return all;
}

class AdversarialTargetTest : public XentTest {
 protected:
  Array<1> shift_of(XentArrays& r, const Problem& p) {
    Array<1> shift(backend(), acc(), {p.dims.N}, 2);
    adversarial_shift(exec(),
                      {.shift = shift, .x = r.x, .W = r.W, .target = r.target, .eps = kEps});
    synchronize();
    EXPECT_TRUE(shift.padding_untouched());
    return shift;
  }
};

TEST(AdversarialOracle, GradientsAreDifferencesOfTheMovedLoss) {
  Problem p = make_problem({4, 3, 6}, DType::f64, true, 5);
  const std::vector<double> noise = move(p).noise;
  const HeadOracle oracle = moved_oracle(p, noise);
  const auto objective = [&] {
    const std::vector<double> loss = moved_loss(p, noise);
    double sum = 0;
    for (size_t n = 0; n < loss.size(); ++n) sum += p.dloss[n] * loss[n];
    return sum;
  };
  const auto differences = [&](std::vector<double>& at) {
    return central_differences(at, objective);
  };
  expect_close(oracle.loss, moved_loss(p, noise), 1e-13, "loss");
  expect_close(oracle.dx, differences(p.x), 1e-8, "dx");
  expect_close(oracle.dW, differences(p.W), 1e-8, "dW");
  expect_close(oracle.db, differences(p.b), 1e-8, "db");
}

TEST_P(AdversarialTargetTest, EqualsTheMovedMatrix) {
  struct Run {
    Dims dims;
    size_t budget;
  };
  for (const Run& how : {Run{{33, 13, 37}, kWhole}, Run{{7, 5, 1001}, kWhole},
                         Run{{9, 24, 137}, kLeast}, Run{{9, 13, 2100}, 60000}}) {
    const Problem p = make_problem(how.dims, act(), true, 7);
    const Moved moved = move(p);
    EXPECT_GT(std::count(moved.shift.begin(), moved.shift.end(), 0.0), how.dims.N / 5);
    XentArrays r(backend(), act(), p);
    Array<1> shift = shift_of(r, p);
    const double relative = acc() == DType::f64 ? 1e-13 : 3e-6;
    expect_close(shift.read(), moved.shift, relative, "shift");

    run(r.training(), how.budget);
    const auto plain = r.loss.bytes();
    LinearSoftmaxXent args = r.training();
    args.shift = shift;
    run(args, how.budget);
    EXPECT_EQ(r.loss.bytes(), plain) << "the loss follows the move";
    adversarial_dx(exec(), {.dx = r.dx, .x = r.x, .nll = r.loss, .shift = shift, .dloss = r.dloss});
    Array<1> loss(backend(), acc(), {p.dims.N}, 3);
    adversarial_loss(exec(), {.loss = loss, .nll = r.loss, .shift = shift});
    synchronize();
    const HeadOracle expected = moved_oracle(p, moved.noise);
    expect_equals(r, {p.oracle().loss, expected.dx, expected.dW, expected.db, {}});
    expect_close(loss.read(), expected.loss, tolerance(GetParam()), "moved loss");
    EXPECT_TRUE(loss.padding_untouched());
  }
}

TEST_P(AdversarialTargetTest, NoMoveChangesNothing) {
  const Problem p = make_problem({9, 13, 137}, act(), true, 9);
  XentArrays plain(backend(), act(), p), moved(backend(), act(), p);
  run(plain.training());
  LinearSoftmaxXent args = moved.training();
  Array<1> shift(backend(), acc(), {p.dims.N});
  shift.fill(0.0);
  args.shift = shift;
  run(args);
  adversarial_dx(
      exec(),
      {.dx = moved.dx, .x = moved.x, .nll = moved.loss, .shift = shift, .dloss = moved.dloss});
  synchronize();
  EXPECT_EQ(moved.dx.bytes(), plain.dx.bytes());
  EXPECT_EQ(moved.dW.bytes(), plain.dW.bytes());
  EXPECT_EQ(moved.db.bytes(), plain.db.bytes());
}

TEST_P(AdversarialTargetTest, CertainAndHopelessTargets) {
  const std::vector<double> nll = {0, 1e-3, 0.7, 20, 300, INFINITY, 3, NAN};
  const std::vector<double> shift = {400, 0.01, 400, 1e-3, 5, 5, 0, 1};
  const int64_t N = int64_t(nll.size());
  Array<1> from(backend(), acc(), {N}), by(backend(), acc(), {N});
  from.fill(nll);
  by.fill(shift);
  adversarial_loss(exec(), {.loss = from, .nll = from, .shift = by});
  synchronize();
  const std::vector<double> loss = from.read();
  const double t = acc() == DType::f64 ? 1e-14 : 2e-6;
  EXPECT_EQ(loss[0], 0);
  EXPECT_NEAR(loss[1], std::log1p(std::exp(0.01) * std::expm1(1e-3)), 1e-3 * t);
  EXPECT_NEAR(loss[2], 400.7 + std::log(-std::expm1(-0.7)), 400 * t);
  EXPECT_NEAR(loss[3], 20.001 + std::log1p(std::exp(-20.0) * std::expm1(-1e-3)), 20 * t);
  EXPECT_NEAR(loss[4], 305, 300 * t);
  EXPECT_EQ(loss[5], INFINITY);
  EXPECT_EQ(loss[6], 3);
  EXPECT_TRUE(std::isnan(loss[7]));
}

// A target so far ahead that its probability rounds to 1, and a margin that leaves it nothing.
TEST_P(AdversarialTargetTest, GradientsStayWithinTheWeight) {
  Array<2> x(backend(), act(), {1, 2}), W(backend(), act(), {3, 2}), dx(backend(), act(), {1, 2}),
      dW(backend(), acc(), {3, 2});
  Array<1> target(backend(), DType::i32, {1}), loss(backend(), acc(), {1}),
      dloss(backend(), acc(), {1}), shift(backend(), acc(), {1});
  x.fill({10, 0});
  W.fill({20, 0, -20, 0, -20, 1});
  target.fill({0});
  dloss.fill({1});
  for (double s : {1.0, 100.0, 500.0}) {
    shift.fill({s});
    LinearSoftmaxXent args{
        .loss = loss, .dx = dx, .dW = dW, .x = x, .W = W, .target = target, .dloss = dloss};
    args.shift = shift;
    run(args);
    adversarial_dx(exec(), {.dx = dx, .x = x, .nll = loss, .shift = shift, .dloss = dloss});
    synchronize();
    for (double v : dW.read()) EXPECT_LE(std::abs(v), 10.001) << s;
    for (double v : dx.read()) EXPECT_LE(std::abs(v), 50 * 1.001) << s;
  }
}

TEST_P(AdversarialTargetTest, RefusesBadArguments) {
  const Problem p = make_problem({3, 4, 5}, act(), true);
  XentArrays r(backend(), act(), p);
  Array<1> shift(backend(), acc(), {3}), short_one(backend(), acc(), {2});
  const auto make = [&](const View1& to, double eps) {
    adversarial_shift(exec(), {.shift = to, .x = r.x, .W = r.W, .target = r.target, .eps = eps});
  };
  EXPECT_THROW(make(short_one, 1), Error);
  EXPECT_THROW(make(shift, -1), Error);
  EXPECT_THROW(adversarial_loss(exec(), {.loss = shift, .nll = short_one, .shift = shift}), Error);
  EXPECT_THROW(adversarial_dx(
                   exec(), {.dx = r.W, .x = r.x, .nll = r.loss, .shift = shift, .dloss = r.dloss}),
               Error);
  LinearSoftmaxXent args = r.training();
  args.shift = shift;
  args.options.z_loss = 1;
  EXPECT_THROW(run(args), Error);
  adversarial_shift(backend().measuring(), {});
  adversarial_loss(backend().measuring(), {});
  adversarial_dx(backend().measuring(), {});
}

UNROLL_ON_TARGETS(AdversarialTargetTest);

}  // namespace
}  // namespace unroll::test
