// linear_softmax_xent.h: loss and gradients against the oracle in every division of the work,
// options, accumulation, ignored targets; log-probabilities.
#include "kernels/heads/linear_softmax_xent.h"

#include "kernels/base/error.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/xent_plan.h"
#include "tests/kernels/heads/xent_problem.h"

namespace unroll::test {
namespace {

constexpr Dims kDims[] = {{1, 13, 37}, {7, 5, 1001}, {33, 13, 37}, {33, 24, 1001}};
constexpr XentOptions kPlain{}, kAll{.label_smoothing = 0.1, .z_loss = 0.01, .soft_cap = 3};

class LinearSoftmaxXentTest : public XentTest {
 protected:
  // Tall enough for chunks of tokens: at least `2 * rows` tokens.
  Dims tall(int64_t* rows) const {
    const bool cuda = GetParam().device == DeviceKind::cuda;
    *rows = cuda ? 651 : 71;
    return cuda ? Dims{1300, 3, 11} : Dims{211, 13, 37};
  }
  size_t chunks_of(int64_t rows, const Dims& dims) const {
    return linear_softmax_xent_scratch_bytes(exec(), act(), rows, dims.D, dims.V, true, kWhole);
  }
};

TEST_P(LinearSoftmaxXentTest, EqualsOracle) {
  for (const Dims& dims : kDims)
    for (bool with_bias : {false, true}) {
      const Problem p = make_problem(dims, act(), with_bias);
      XentArrays r(backend(), act(), p);
      run(r.training());
      expect_equals(r, p.oracle());
    }
}

TEST_P(LinearSoftmaxXentTest, AnyScratchGivesTheSame) {
  for (const Dims& dims : {Dims{9, 13, 137}, Dims{33, 24, 1001}})
    for (size_t budget : {size_t(100000), size_t(30000), kLeast}) {
      if (budget == kLeast && dims.V > 1000) continue;
      const Problem p = make_problem(dims, act(), true, 7);
      XentArrays r(backend(), act(), p);
      run(r.training(), budget);
      expect_equals(r, p.oracle());
    }
}

TEST_P(LinearSoftmaxXentTest, ChunksOfTokensGiveTheSame) {
  int64_t rows;
  const Dims dims = tall(&rows);
  const Problem p = make_problem(dims, act(), true, 7);
  for (Accumulate to : {Accumulate::overwrite, Accumulate::add}) {
    XentArrays r(backend(), act(), p);
    r.dW.fill(1.0);
    r.db.fill(1.0);
    const size_t bytes = chunks_of(rows, dims);
    EXPECT_LT(plan_xent(exec(), act(), dims.N, dims.D, dims.V, true, bytes).rows, dims.N);
    EXPECT_TRUE(plan_xent(exec(), act(), dims.N, dims.D, dims.V, true, bytes).keep);
    run(r.training(to), bytes);
    HeadOracle expected = p.oracle();
    for (double& v : expected.dW) v += to == Accumulate::add;
    for (double& v : expected.db) v += to == Accumulate::add;
    expect_equals(r, expected);
  }
}

// Of an op without dW and db, by whoever has dz: the bits of the op with them.
TEST_P(LinearSoftmaxXentTest, LeavesTheGradientOfTheLogits) {
  const Problem p = make_problem({33, 13, 1001}, act(), true, 7);
  XentArrays r(backend(), act(), p), apart(backend(), act(), p);
  LinearSoftmaxXent args = apart.training();
  Array<1> scratch(backend(), DType::u8, {int64_t(scratch_bytes(args, kWhole))}, 256);
  args.scratch = {scratch.view.data, scratch_bytes(args, kWhole)};
  const View2 dz = logits_gradient(exec(), args);
  ASSERT_EQ(bool(dz), GetParam().device == DeviceKind::cuda);
  args.dW = {};
  args.db = {};
  if (!dz) {
    EXPECT_THROW(linear_softmax_xent(exec(), args), Error);
    return;
  }
  linear_softmax_xent(exec(), args);
  gemm(exec(), {.C = apart.dW, .A = dz, .B = args.x, .transpose_A = Transpose::yes});
  column_sum(exec(), {.sum = apart.db, .x = dz});
  synchronize();
  run(r.training());
  EXPECT_EQ(apart.dx.read(), r.dx.read());
  EXPECT_EQ(apart.dW.read(), r.dW.read());
  EXPECT_EQ(apart.db.read(), r.db.read());
  --args.scratch.bytes;  // no longer all logits at once
  EXPECT_FALSE(logits_gradient(exec(), args));
}

TEST_P(LinearSoftmaxXentTest, ShortChunksGiveWayToTheLowMemoryMode) {
  const Dims dims{2000, 200, 219000};
  const auto plan = [&](int64_t height) {
    return plan_xent(exec(), act(), dims.N, dims.D, dims.V, true, chunks_of(height, dims));
  };
  const bool cuda = GetParam().device == DeviceKind::cuda;
  EXPECT_TRUE(plan(cuda ? 1000 : 100).keep);
  EXPECT_EQ(plan(cuda ? 1000 : 100).rows, cuda ? 1000 : 100);
  EXPECT_FALSE(plan(cuda ? 500 : 50).keep);
  EXPECT_EQ(plan(cuda ? 500 : 50).rows, dims.N);
}

TEST_P(LinearSoftmaxXentTest, AddsToWhatIsThere) {
  for (size_t budget : {kWhole, kLeast}) {
    const Problem p = make_problem({9, 13, 137}, act(), true, 9);
    XentArrays r(backend(), act(), p);
    r.dW.fill(1.0);
    r.db.fill(1.0);
    run(r.training(Accumulate::add), budget);
    HeadOracle expected = p.oracle();
    for (double& v : expected.dW) v += 1;
    for (double& v : expected.db) v += 1;
    expect_equals(r, expected);
  }
}

TEST_P(LinearSoftmaxXentTest, OptionsEqualOracle) {
  const XentOptions options[] = {{.label_smoothing = 0.1}, {.z_loss = 0.01}, {.soft_cap = 3}, kAll};
  struct Run {
    Dims dims;
    size_t budget;
  };
  for (const XentOptions& o : options)
    for (const Run& how : {Run{{3, 5, 1001}, kWhole}, Run{{3, 5, 1001}, 9000},
                           Run{{3, 2, 2100}, 20000}, Run{{9, 13, 137}, kLeast}}) {
      Problem p = make_problem(how.dims, act(), true, 11);
      p.options = o;
      XentArrays r(backend(), act(), p);
      run(r.training(), how.budget);
      expect_equals(r, p.oracle());
    }
}

TEST_P(LinearSoftmaxXentTest, EvaluationGivesTheSameLossWithoutGradients) {
  for (const Dims& dims : kDims)
    for (size_t budget : {kWhole, kLeast})
      for (const XentOptions& o : {kPlain, kAll}) {
        if (budget == kLeast && dims.V > 1000) continue;
        Problem p = make_problem(dims, act(), true, 11);
        p.options = o;
        XentArrays r(backend(), act(), p);
        run(r.evaluation(), budget);
        expect_close(r.loss.read(), p.oracle().loss, tolerance(GetParam()), "loss");
        EXPECT_TRUE(r.loss.padding_untouched());
      }
}

TEST_P(LinearSoftmaxXentTest, IgnoredTargetsHaveNoLossAndNoGradient) {
  for (size_t budget : {kWhole, kLeast}) {
    Problem p = make_problem({7, 5, 137}, act(), true, 13);
    p.target.assign(7, -1);
    XentArrays r(backend(), act(), p);
    run(r.training(), budget);
    for (double v : r.loss.read()) EXPECT_EQ(v, 0);
    for (double v : r.dx.read()) EXPECT_EQ(v, 0);
    for (double v : r.dW.read()) EXPECT_EQ(v, 0);
    for (double v : r.db.read()) EXPECT_EQ(v, 0);
  }
}

TEST_P(LinearSoftmaxXentTest, NoRowsStillDefineTheGradients) {
  const Problem p{{0, 5, 37}, {}, random_values(37 * 5, act(), 1), random_values(37, acc(), 2),
                  {},         {}};
  XentArrays r(backend(), act(), p);
  run(r.training());
  for (double v : r.dW.read()) EXPECT_EQ(v, 0);
  for (double v : r.db.read()) EXPECT_EQ(v, 0);
}

TEST_P(LinearSoftmaxXentTest, TwoRunsAreBitEqual) {
  const Problem p = make_problem({kKernelsOnCpu ? 9 : 33, 24, 1001}, act(), true, 21);
  for (size_t budget : {kWhole, size_t(30000)}) {
    XentArrays a(backend(), act(), p), b(backend(), act(), p);
    run(a.training(), budget);
    run(b.training(), budget);
    EXPECT_EQ(a.loss.bytes(), b.loss.bytes());
    EXPECT_EQ(a.dx.bytes(), b.dx.bytes());
    EXPECT_EQ(a.dW.bytes(), b.dW.bytes());
    EXPECT_EQ(a.db.bytes(), b.db.bytes());
  }
}

TEST_P(LinearSoftmaxXentTest, LogSoftmaxEqualsOracle) {
  for (const Dims& dims : kDims)
    for (bool with_bias : {false, true}) {
      if (kKernelsOnCpu && dims.N * dims.V > 10000 && !with_bias) continue;
      Problem p = make_problem(dims, act(), with_bias, 23);
      p.options.soft_cap = with_bias ? 3 : 0;
      XentArrays r(backend(), act(), p);
      Array<2> log_p(backend(), acc(), {dims.N, dims.V}, 3);
      linear_log_softmax(exec(), {.log_p = log_p,
                                  .x = r.x,
                                  .W = r.W,
                                  .b = with_bias ? r.b.view : View1{},
                                  .soft_cap = p.options.soft_cap});
      synchronize();
      expect_close(log_p.read(), p.oracle().log_p, tolerance(GetParam()), "log p");
      EXPECT_TRUE(log_p.padding_untouched());
    }
}

TEST_P(LinearSoftmaxXentTest, RefusesBadArguments) {
  const Problem p = make_problem({7, 5, 37}, act(), true);
  XentArrays r(backend(), act(), p);
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
  args = r.training();
  args.options.label_smoothing = 1;
  refused(args, "label_smoothing is 1");
  linear_softmax_xent(backend().measuring(), {});
  linear_log_softmax(backend().measuring(), {});
  for (size_t budget : {kWhole, size_t(1) << 20})
    EXPECT_EQ(linear_softmax_xent_scratch_bytes(backend().measuring(), act(), 400, 650, 10000, true,
                                                budget),
              linear_softmax_xent_scratch_bytes(exec(), act(), 400, 650, 10000, true, budget));
}

UNROLL_ON_TARGETS(LinearSoftmaxXentTest);

// Of sum(dloss * loss) in x, W and b, by central differences on the CPU in f64.
TEST(LinearSoftmaxXentGradientTest, EqualsCentralDifferences) {
  const Backend backend(Device::cpu(2));
  for (const XentOptions& options : {kPlain, kAll}) {
    Problem p = make_problem({4, 3, 7}, DType::f64, true, 25);
    p.options = options;
    std::vector<unsigned char> memory(linear_softmax_xent_scratch_bytes(
        backend.exec(), DType::f64, 4, 3, 7, true, size_t(1) << 20));
    const Scratch scratch = {memory.data(), memory.size()};
    const auto objective = [&](const Problem& q) {
      XentArrays r(backend, DType::f64, q);
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
    XentArrays r(backend, DType::f64, p);
    LinearSoftmaxXent args = r.training();
    args.scratch = scratch;
    linear_softmax_xent(backend.exec(), args);
    expect_close(r.dx.read(), differences(&Problem::x), 1e-8, "dx");
    expect_close(r.dW.read(), differences(&Problem::W), 1e-8, "dW");
    expect_close(r.db.read(), differences(&Problem::b), 1e-8, "db");
  }
}

}  // namespace
}  // namespace unroll::test
