// linear_softmax_xent.h: loss and gradients against the oracle, chunking, ignored targets, extreme
// and undefined logits; log-probabilities.
#include "kernels/heads/linear_softmax_xent.h"

#include <optional>

#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"
#include "tests/oracle/heads.h"

namespace unroll::test {
namespace {

struct Dims {
  int64_t N, D, V;
};
constexpr Dims kDims[] = {{1, 13, 37}, {7, 5, 1001}, {33, 13, 37}, {33, 24, 1001}};
constexpr int64_t kNone = -1;

// One problem: inputs as double, rounded to the types they are stored in.
struct Problem {
  Dims dims;
  std::vector<double> x, W, b, target, dloss;
  HeadOracle oracle() const { return head_oracle(dims.N, dims.D, dims.V, x, W, b, target, dloss); }
};

Problem make_problem(const Dims& dims, DType act, bool with_bias, unsigned seed = 1,
                     double scale = 1) {
  Problem p{dims,
            random_values(dims.N * dims.D, act, seed, scale),
            random_values(dims.V * dims.D, act, seed + 1, scale),
            {},
            {},
            {}};
  if (with_bias) p.b = random_values(dims.V, accumulate_type(act), seed + 2);
  p.target = random_ids(dims.N, int(dims.V), seed + 3);
  p.target.back() = double(dims.V - 1);
  for (size_t n = 2; n < p.target.size(); n += 5) p.target[n] = -1;
  p.dloss = random_values(dims.N, accumulate_type(act), seed + 4);
  return p;
}

// Inputs and poisoned outputs of a problem on a device.
struct Arrays {
  Array<2> x, W, dx, dW;
  Array<1> b, target, dloss, loss, db;
  bool with_bias;

  Arrays(const Backend& backend, DType act, const Problem& p)
      : x(backend, act, {p.dims.N, p.dims.D}, 3),
        W(backend, act, {p.dims.V, p.dims.D}, 1),
        dx(backend, act, {p.dims.N, p.dims.D}, 5),
        dW(backend, accumulate_type(act), {p.dims.V, p.dims.D}, 2),
        b(backend, accumulate_type(act), {p.dims.V}),
        target(backend, DType::i32, {p.dims.N}),
        dloss(backend, accumulate_type(act), {p.dims.N}),
        loss(backend, accumulate_type(act), {p.dims.N}, 4),
        db(backend, accumulate_type(act), {p.dims.V}, 4),
        with_bias(!p.b.empty()) {
    x.fill(p.x);
    W.fill(p.W);
    if (with_bias) b.fill(p.b);
    target.fill(p.target);
    dloss.fill(p.dloss);
  }
  LinearSoftmaxXent training(Accumulate to = Accumulate::overwrite) {
    LinearSoftmaxXent args = evaluation();
    args.dx = dx;
    args.dW = dW;
    if (with_bias) args.db = db;
    args.to_dW = args.to_db = to;
    args.dloss = dloss;
    return args;
  }
  LinearSoftmaxXent evaluation() {
    LinearSoftmaxXent args;
    args.loss = loss;
    args.x = x;
    args.W = W;
    if (with_bias) args.b = b;
    args.target = target;
    return args;
  }
};

class LinearSoftmaxXentTest : public OnTargets {
 protected:
  // Runs with scratch for `rows` rows of logits, or for all of them.
  void run(LinearSoftmaxXent args, int64_t rows = kNone) {
    const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
    const size_t bytes = linear_softmax_xent_scratch_bytes(
        exec(), act(), int(rows == kNone ? std::max<int64_t>(N, 1) : rows), int(D), int(V));
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 256);
    args.scratch = {scratch.view.data, bytes};
    linear_softmax_xent(exec(), args);
    synchronize();
    EXPECT_TRUE(scratch.padding_untouched()) << "wrote beyond the scratch";
  }
  void expect_equals(Arrays& r, const HeadOracle& expected) {
    const double t = tolerance(GetParam());
    expect_close(r.loss.read(), expected.loss, t, "loss");
    expect_close(r.dx.read(), expected.dx, t, "dx");
    expect_close(r.dW.read(), expected.dW, t, "dW");
    if (r.with_bias) expect_close(r.db.read(), expected.db, t, "db");
    EXPECT_TRUE(r.loss.padding_untouched() && r.dx.padding_untouched() &&
                r.dW.padding_untouched() && r.db.padding_untouched());
  }
};

TEST_P(LinearSoftmaxXentTest, EqualsOracle) {
  for (const Dims& dims : kDims)
    for (bool with_bias : {false, true}) {
      const Problem p = make_problem(dims, act(), with_bias);
      Arrays r(backend(), act(), p);
      run(r.training());
      expect_equals(r, p.oracle());
    }
}

TEST_P(LinearSoftmaxXentTest, ChunksOfAnyHeightGiveTheSame) {
  for (int64_t rows : {1, 3, 8, 32, 33, 100}) {
    const Problem p = make_problem({33, 13, 37}, act(), true, 7);
    Arrays r(backend(), act(), p);
    run(r.training(), rows);
    expect_equals(r, p.oracle());
  }
}

TEST_P(LinearSoftmaxXentTest, AddsToWhatIsThere) {
  for (int64_t rows : {kNone, int64_t(3)}) {
    const Problem p = make_problem({33, 13, 37}, act(), true, 9);
    Arrays r(backend(), act(), p);
    r.dW.fill(1.0);
    r.db.fill(1.0);
    run(r.training(Accumulate::add), rows);
    HeadOracle expected = p.oracle();
    for (double& v : expected.dW) v += 1;
    for (double& v : expected.db) v += 1;
    expect_equals(r, expected);
  }
}

TEST_P(LinearSoftmaxXentTest, EvaluationGivesTheSameLossWithoutGradients) {
  for (const Dims& dims : kDims) {
    const Problem p = make_problem(dims, act(), true, 11);
    Arrays r(backend(), act(), p);
    run(r.evaluation(), 3);
    expect_close(r.loss.read(), p.oracle().loss, tolerance(GetParam()), "loss");
    EXPECT_TRUE(r.loss.padding_untouched());
  }
}

TEST_P(LinearSoftmaxXentTest, IgnoredTargetsHaveNoLossAndNoGradient) {
  Problem p = make_problem({7, 5, 37}, act(), true, 13);
  p.target.assign(7, -1);
  Arrays r(backend(), act(), p);
  run(r.training());
  for (double v : r.loss.read()) EXPECT_EQ(v, 0);
  for (double v : r.dx.read()) EXPECT_EQ(v, 0);
  for (double v : r.dW.read()) EXPECT_EQ(v, 0);
  for (double v : r.db.read()) EXPECT_EQ(v, 0);
}

TEST_P(LinearSoftmaxXentTest, NoRowsStillDefineTheGradients) {
  const Problem p{{0, 5, 37}, {}, random_values(37 * 5, act(), 1), random_values(37, acc(), 2),
                  {},         {}};
  Arrays r(backend(), act(), p);
  run(r.training());
  for (double v : r.dW.read()) EXPECT_EQ(v, 0);
  for (double v : r.db.read()) EXPECT_EQ(v, 0);
}

TEST_P(LinearSoftmaxXentTest, LargeLogitsNeitherOverflowNorLoseTheLoss) {
  Problem p = make_problem({33, 1, 37}, act(), true, 15);
  // Integers, so that every element type and TF32 hold the logits exactly: up to +-16384.
  for (double& v : p.x) v = std::round(v * 128);
  for (double& v : p.W) v = std::round(v * 128);
  p.b.assign(p.b.size(), 0);
  Arrays r(backend(), act(), p);
  run(r.training());
  expect_equals(r, p.oracle());
}

TEST_P(LinearSoftmaxXentTest, MinusInfinityIsProbabilityZero) {
  Problem p = make_problem({7, 5, 37}, act(), true, 17);
  for (int v : {0, 20, 36}) p.b[size_t(v)] = -INFINITY;
  for (double& t : p.target)
    if (t == 0 || t == 20 || t == 36) t = 1;
  Arrays r(backend(), act(), p);
  run(r.training());
  expect_equals(r, p.oracle());
  EXPECT_EQ(r.db.read()[20], 0);

  p.target[0] = 20;  // an impossible word costs infinitely many nats; its gradient is still finite
  Arrays impossible(backend(), act(), p);
  run(impossible.training());
  EXPECT_EQ(impossible.loss.read()[0], INFINITY);
  expect_close(impossible.dx.read(), p.oracle().dx, tolerance(GetParam()), "dx");
}

TEST_P(LinearSoftmaxXentTest, NanInIsNanOutOfThatRowOnly) {
  Problem p = make_problem({7, 5, 37}, act(), true, 19);
  p.target.assign(7, 3);
  p.x[2 * 5 + 1] = NAN;
  Arrays r(backend(), act(), p);
  run(r.training());
  const auto loss = r.loss.read(), dx = r.dx.read();
  for (size_t n = 0; n < 7; ++n) {
    EXPECT_EQ(std::isnan(loss[n]), n == 2) << n;
    EXPECT_EQ(std::isnan(dx[n * 5]), n == 2) << n;
  }
  Problem q = make_problem({7, 5, 37}, act(), true, 19);
  q.b[30] = NAN;
  Arrays all(backend(), act(), q);
  run(all.evaluation());
  const auto all_loss = all.loss.read();
  for (size_t n = 0; n < 7; ++n) EXPECT_EQ(std::isnan(all_loss[n]), q.target[n] >= 0) << n;
}

TEST_P(LinearSoftmaxXentTest, TwoRunsAreBitEqual) {
  const Problem p = make_problem({33, 24, 1001}, act(), true, 21);
  Arrays a(backend(), act(), p), b(backend(), act(), p);
  run(a.training(), 7);
  run(b.training(), 7);
  EXPECT_EQ(a.loss.bytes(), b.loss.bytes());
  EXPECT_EQ(a.dx.bytes(), b.dx.bytes());
  EXPECT_EQ(a.dW.bytes(), b.dW.bytes());
  EXPECT_EQ(a.db.bytes(), b.db.bytes());
}

TEST_P(LinearSoftmaxXentTest, LogSoftmaxEqualsOracle) {
  for (const Dims& dims : kDims)
    for (bool with_bias : {false, true}) {
      Problem p = make_problem(dims, act(), with_bias, 23);
      Arrays r(backend(), act(), p);
      Array<2> log_p(backend(), acc(), {dims.N, dims.V}, 3);
      linear_log_softmax(exec(),
                         {.log_p = log_p, .x = r.x, .W = r.W, .b = with_bias ? r.b.view : View1{}});
      synchronize();
      expect_close(log_p.read(), p.oracle().log_p, tolerance(GetParam()), "log p");
      EXPECT_TRUE(log_p.padding_untouched());
    }
}

TEST_P(LinearSoftmaxXentTest, RefusesBadArguments) {
  const Problem p = make_problem({7, 5, 37}, act(), true);
  Arrays r(backend(), act(), p);
  EXPECT_THROW(linear_softmax_xent(exec(), r.training()), Error) << "no scratch";
  const auto refused = [&](LinearSoftmaxXent args, const std::string& part) {
    Array<1> scratch(backend(), DType::u8, {1 << 16});
    args.scratch = {scratch.view.data, 1 << 16};
    try {
      linear_softmax_xent(exec(), args);
      ADD_FAILURE() << "no error: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  LinearSoftmaxXent args = r.training();
  args.W.n[1] = 4;
  refused(args, "W is [37,4]");
  args = r.training();
  args.dloss = {};
  refused(args, "dloss");
  args = r.training();
  args.dx = {};
  refused(args, "without dx");
  linear_softmax_xent(backend().measuring(), {});
  linear_log_softmax(backend().measuring(), {});
  EXPECT_EQ(linear_softmax_xent_scratch_bytes(backend().measuring(), act(), 400, 650, 10000),
            linear_softmax_xent_scratch_bytes(exec(), act(), 400, 650, 10000));
}

UNROLL_ON_TARGETS(LinearSoftmaxXentTest);

// Of sum(dloss * loss) in x, W and b, by central differences on the CPU in f64.
TEST(LinearSoftmaxXentGradientTest, EqualsCentralDifferences) {
  const Backend backend(Device::cpu(2));
  const Problem p = make_problem({4, 3, 7}, DType::f64, true, 25);
  std::vector<unsigned char> memory(
      linear_softmax_xent_scratch_bytes(backend.exec(), DType::f64, 4, 3, 7));
  const Scratch scratch = {memory.data(), memory.size()};
  const auto objective = [&](const Problem& q) {
    Arrays r(backend, DType::f64, q);
    LinearSoftmaxXent args = r.evaluation();
    args.scratch = scratch;
    linear_softmax_xent(backend.exec(), args);
    const auto loss = r.loss.read();
    double sum = 0;
    for (size_t n = 0; n < loss.size(); ++n) sum += q.dloss[n] * loss[n];
    return sum;
  };
  const auto differences = [&](std::vector<double> Problem::*part) {
    constexpr double h = 1e-5;
    std::vector<double> slopes;
    for (size_t i = 0; i < (p.*part).size(); ++i) {
      Problem up = p, down = p;
      (up.*part)[i] += h;
      (down.*part)[i] -= h;
      slopes.push_back((objective(up) - objective(down)) / (2 * h));
    }
    return slopes;
  };
  Arrays r(backend, DType::f64, p);
  LinearSoftmaxXent args = r.training();
  args.scratch = scratch;
  linear_softmax_xent(backend.exec(), args);
  expect_close(r.dx.read(), differences(&Problem::x), 1e-8, "dx");
  expect_close(r.dW.read(), differences(&Problem::W), 1e-8, "dW");
  expect_close(r.db.read(), differences(&Problem::b), 1e-8, "db");
}

}  // namespace
}  // namespace unroll::test
