// linear_softmax_xent.h: numbers at the edges. Vocabularies of every size, nearly certain classes,
// shifted, huge, impossible and undefined logits, rounding beside an unfused computation, and
// offsets beyond 2^31.
#include <numeric>

#include "kernels/heads/linear_softmax_xent.h"
#include "tests/harness/vast_memory.h"
#include "tests/kernels/heads/xent_problem.h"

namespace unroll::test {
namespace {

using LinearSoftmaxXentNumericsTest = XentTest;

// Executed on the CPU, the sizes are the least that take each way through the kernels: a row of a
// warp, of a block's registers, of its shared memory, and of a cluster of two.
std::vector<int64_t> vocabularies() {
  if (!kKernelsOnCpu) return {2, 31, 507, 10000, 33278, 50257, 267735, 793471, 1000003};
  return {2, 31, 507, 2100, 10300, 17000};
}

TEST_P(LinearSoftmaxXentNumericsTest, VocabulariesOfEverySize) {
  for (int64_t V : vocabularies()) {
    const Problem p = make_problem({V > 1000 ? 1 : 2, 1, V}, act(), V % 2 == 0, 3);
    for (size_t budget : {kWhole, size_t(1) << 14}) {
      if (budget != kWhole && V > 10000) continue;
      XentArrays r(backend(), act(), p);
      run(r.training(), budget);
      expect_equals(r, p.oracle());
      // Each row of dz sums to 0: a piece that was missed would show.
      if (!r.with_bias) continue;
      const auto db = r.db.read();
      double sum = 0, size = 0;
      for (double v : db) sum += v, size += std::abs(v);
      EXPECT_LE(std::abs(sum), tolerance(GetParam()) * size) << V;
    }
  }
}

TEST_P(LinearSoftmaxXentNumericsTest, NearlyCertainClassKeepsItsDigits) {
  for (double p_target : {0.9, 0.99, 0.999})
    for (size_t budget : {kWhole, kLeast}) {
      Problem p = make_problem({1, 1, 301}, act(), true, 5, 0.5);
      p.x[0] = 1;
      p.b.assign(301, 0);
      p.target[0] = 7;
      p.dloss[0] = 1;
      p.W[7] = rounded(std::log(300 * p_target / (1 - p_target)), act());
      XentArrays r(backend(), act(), p);
      run(r.training(), budget);
      const double got = r.db.read()[7], expected = p.oracle().db[7];
      // f64, p = 0.999: the oracle rounds lse, about 13, ours a sum above 1 for each of 19 pieces:
      // 32 * 2^-53 / 0.001.
      const double bound = act() == DType::bf16 ? 5e-3 : act() == DType::f32 ? 2e-4 : 4e-12;
      EXPECT_NEAR(got / expected, 1, bound) << p_target;
      EXPECT_NEAR(r.loss.read()[0] / p.oracle().loss[0], 1, bound) << p_target;
    }
}

TEST_P(LinearSoftmaxXentNumericsTest, ShiftedLogitsChangeNothing) {
  for (double shift : {-1e4, -10.0, 10.0, 100.0})
    for (size_t budget : {kWhole, kLeast}) {
      Problem p = make_problem({7, 5, 137}, act(), true, 15);
      p.b.assign(137, 0);
      const HeadOracle expected = p.oracle();
      p.b.assign(137, shift);
      XentArrays r(backend(), act(), p);
      run(r.training(), budget);
      // The shift takes digits off the logits.
      const double t = act() == DType::f64 ? 1e-10 : std::max(tolerance(GetParam()), 5e-3);
      expect_close(r.loss.read(), expected.loss, t, "loss");
      expect_close(r.dx.read(), expected.dx, t, "dx");
      expect_close(r.db.read(), expected.db, t, "db");
    }
}

TEST_P(LinearSoftmaxXentNumericsTest, HugeLogitsNeitherOverflowNorLoseTheLoss) {
  for (size_t budget : {kWhole, kLeast}) {
    Problem p = make_problem({9, 1, 137}, act(), true, 15);
    // Of 7 bits and a power of two, so that every type holds the logits exactly: up to +-15488.
    for (double& v : p.x) v = std::round(v * 11);
    for (double& v : p.W) v = std::round(v * 11) * 128;
    p.b.assign(p.b.size(), 0);
    XentArrays r(backend(), act(), p);
    run(r.training(), budget);
    expect_equals(r, p.oracle());
  }
}

TEST_P(LinearSoftmaxXentNumericsTest, MinusInfinityIsProbabilityZero) {
  for (double cap : {0.0, 5.0})
    for (size_t budget : {kWhole, kLeast}) {
      Problem p = make_problem({7, 5, 137}, act(), true, 17);
      for (int v : {0, 20, 136}) p.b[size_t(v)] = -INFINITY;
      for (double& t : p.target)
        if (t == 0 || t == 20 || t == 136) t = 1;
      p.options.soft_cap = cap;
      XentArrays r(backend(), act(), p);
      run(r.training(), budget);
      EXPECT_EQ(r.db.read()[20], 0);
      for (double v : r.dx.read()) EXPECT_TRUE(std::isfinite(v));
      if (cap == 0) expect_equals(r, p.oracle());

      // An impossible word costs infinitely many nats; its gradient is still finite.
      p.target[0] = 20;
      XentArrays impossible(backend(), act(), p);
      run(impossible.training(), budget);
      EXPECT_EQ(impossible.loss.read()[0], INFINITY);
      for (double v : impossible.dx.read()) EXPECT_TRUE(std::isfinite(v));
      if (cap == 0) expect_close(impossible.dx.read(), p.oracle().dx, tolerance(GetParam()), "dx");
      // So does a share of the smoothing on a masked word.
      p.target[0] = 1;
      p.options.label_smoothing = 0.1;
      XentArrays smoothed(backend(), act(), p);
      run(smoothed.training(), budget);
      EXPECT_EQ(smoothed.loss.read()[0], INFINITY);
      for (double v : smoothed.db.read()) EXPECT_TRUE(std::isfinite(v));
    }
}

TEST_P(LinearSoftmaxXentNumericsTest, NothingPossibleHasInfiniteLossAndNoGradient) {
  for (size_t budget : {kWhole, kLeast}) {
    Problem p = make_problem({7, 5, 137}, act(), true, 18);
    p.b.assign(137, -INFINITY);
    XentArrays r(backend(), act(), p);
    run(r.training(), budget);
    const auto loss = r.loss.read();
    for (size_t n = 0; n < 7; ++n) EXPECT_EQ(loss[n], p.target[n] < 0 ? 0 : INFINITY);
    for (double v : r.dx.read()) EXPECT_EQ(v, 0);
    for (double v : r.db.read()) EXPECT_EQ(v, 0);
  }
}

TEST_P(LinearSoftmaxXentNumericsTest, NanInIsNanOutOfThatRowOnly) {
  for (size_t budget : {kWhole, kLeast}) {
    Problem p = make_problem({7, 5, 137}, act(), true, 19);
    p.target.assign(7, 3);
    p.x[2 * 5 + 1] = NAN;
    XentArrays r(backend(), act(), p);
    run(r.training(), budget);
    const auto loss = r.loss.read(), dx = r.dx.read();
    for (size_t n = 0; n < 7; ++n) {
      EXPECT_EQ(std::isnan(loss[n]), n == 2) << n;
      for (size_t d = 0; d < 5; ++d) EXPECT_EQ(std::isnan(dx[n * 5 + d]), n == 2) << n;
    }
    for (double v : r.db.read()) EXPECT_TRUE(std::isnan(v)) << "a row's NaN reaches every word";
    for (double bad : {double(NAN), double(INFINITY)}) {
      Problem q = make_problem({7, 5, 137}, act(), true, 19);
      q.b[30] = bad;
      XentArrays all(backend(), act(), q), gradients(backend(), act(), q);
      run(all.evaluation(), budget);
      run(gradients.training(), budget);
      const auto all_loss = all.loss.read(), all_dx = gradients.dx.read();
      for (size_t n = 0; n < 7; ++n) {
        EXPECT_EQ(std::isnan(all_loss[n]), q.target[n] >= 0) << n;
        EXPECT_EQ(std::isnan(all_dx[n * 5]), q.target[n] >= 0) << n;
      }
    }
  }
}

// Logits, their gradients and dx, each rounded to the type they are stored in, with exact
// arithmetic between: what an implementation that stores them cannot do better than.
HeadOracle unfused(const Problem& p, DType act) {
  const auto [N, D, V] = p.dims;
  HeadOracle out{std::vector<double>(size_t(N)),
                 std::vector<double>(size_t(N * D)),
                 std::vector<double>(size_t(V * D)),
                 std::vector<double>(size_t(V)),
                 {}};
  for (int64_t n = 0; n < N; ++n) {
    std::vector<double> z(static_cast<size_t>(V));
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) {
      for (int64_t d = 0; d < D; ++d)
        z[size_t(v)] += p.W[size_t(v * D + d)] * p.x[size_t(n * D + d)];
      z[size_t(v)] = rounded(z[size_t(v)], act) + (p.b.empty() ? 0 : p.b[size_t(v)]);
      sum += std::exp(z[size_t(v)]);
    }
    const int64_t target = int64_t(p.target[size_t(n)]);
    if (target < 0) continue;
    out.loss[size_t(n)] = std::log(sum) - z[size_t(target)];
    for (int64_t v = 0; v < V; ++v) {
      const double dz =
          rounded(p.dloss[size_t(n)] * (std::exp(z[size_t(v)]) / sum - (v == target ? 1 : 0)), act);
      out.db[size_t(v)] += dz;
      for (int64_t d = 0; d < D; ++d) {
        out.dx[size_t(n * D + d)] += dz * p.W[size_t(v * D + d)];
        out.dW[size_t(v * D + d)] += dz * p.x[size_t(n * D + d)];
      }
    }
  }
  for (double& v : out.dx) v = rounded(v, act);
  return out;
}

TEST_P(LinearSoftmaxXentNumericsTest, ErrsNoMoreThanTwiceAnUnfusedComputation) {
  if (GetParam().matmul == MatmulMode::tf32) return;  // its products round what these do not
  const Problem p = make_problem({17, 24, 501}, act(), true, 27, 2);
  const HeadOracle exact = p.oracle(), stored = unfused(p, act());
  const double floor = act() == DType::bf16 ? 1e-4 : tolerance(GetParam()) / 5;
  for (size_t budget : {kWhole, size_t(14000)}) {
    XentArrays r(backend(), act(), p);
    run(r.training(), budget);
    const auto expect_twice = [&](const std::vector<double>& got, const std::vector<double>& other,
                                  const std::vector<double>& truth, const char* what) {
      EXPECT_LE(relative_error(got, truth), 2 * relative_error(other, truth) + floor) << what;
    };
    expect_twice(r.loss.read(), stored.loss, exact.loss, "loss");
    expect_twice(r.dx.read(), stored.dx, exact.dx, "dx");
    expect_twice(r.dW.read(), stored.dW, exact.dW, "dW");
    expect_twice(r.db.read(), stored.db, exact.db, "db");
  }
}

UNROLL_ON_TARGETS(LinearSoftmaxXentNumericsTest);

#if !defined(UNROLL_GPU_ON_CPU)
using LinearSoftmaxXentLargeTest = XentTest;

// A large shape against the oracle on some of its rows of dx and dW: all sums are over all logits.
TEST_P(LinearSoftmaxXentLargeTest, SampledRowsAndColumns) {
  constexpr int64_t N = 23, D = 33, V = 219001;
  const Problem p = make_problem({N, D, V}, act(), true, 31, 0.5);
  std::vector<double> loss(N, 0), z(static_cast<size_t>(N * V));
  for (int64_t n = 0; n < N; ++n) {
    double* row = &z[size_t(n * V)];
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) {
      const double *w = &p.W[size_t(v * D)], *x = &p.x[size_t(n * D)];
      row[v] = std::inner_product(w, w + D, x, p.b[size_t(v)]);
      sum += std::exp(row[v]);
    }
    const int64_t target = int64_t(p.target[size_t(n)]);
    if (target >= 0) loss[size_t(n)] = std::log(sum) - row[target];
    for (int64_t v = 0; v < V; ++v)  // from here on dz
      row[v] =
          target < 0 ? 0 : p.dloss[size_t(n)] * (std::exp(row[v]) / sum - (v == target ? 1 : 0));
  }
  std::vector<int64_t> words;
  for (const double t : p.target)
    if (t >= 0) words.push_back(int64_t(t));
  for (int64_t v = 0; v < V; v += V / 40) words.push_back(v);
  std::vector<double> dx, dW, db;
  for (int64_t n = 0; n < N; n += 4) {
    std::vector<double> row(D, 0);
    for (int64_t v = 0; v < V; ++v)
      for (int64_t d = 0; d < D; ++d)
        row[size_t(d)] += z[size_t(n * V + v)] * p.W[size_t(v * D + d)];
    dx.insert(dx.end(), row.begin(), row.end());
  }
  for (const int64_t v : words) {
    db.push_back(0);
    for (int64_t n = 0; n < N; ++n) db.back() += z[size_t(n * V + v)];
    for (int64_t d = 0; d < D; ++d) {
      dW.push_back(0);
      for (int64_t n = 0; n < N; ++n) dW.back() += z[size_t(n * V + v)] * p.x[size_t(n * D + d)];
    }
  }
  // Only bf16 terms are rounded one by one.
  double terms = 1;
  if (act() == DType::bf16)
    for (const double d : p.dloss) terms += std::abs(d);
  for (const size_t budget : {kWhole, size_t(1) << 21}) {
    XentArrays r(backend(), act(), p);
    const size_t bytes = scratch_bytes(r.training(), budget);
    EXPECT_EQ(bytes > size_t(N * V) * size_of(act()), budget == kWhole);
    run(r.training(), budget);
    const auto all_dx = r.dx.read(), all_dW = r.dW.read(), all_db = r.db.read();
    std::vector<double> got_dx, got_dW, got_db;
    for (int64_t n = 0; n < N; n += 4)
      got_dx.insert(got_dx.end(), &all_dx[size_t(n * D)], &all_dx[size_t(n * D)] + D);
    for (const int64_t v : words) {
      got_dW.insert(got_dW.end(), &all_dW[size_t(v * D)], &all_dW[size_t(v * D)] + D);
      got_db.push_back(all_db[size_t(v)]);
    }
    const double limit = tolerance(GetParam());
    expect_close(r.loss.read(), loss, limit, "loss");
    expect_close(got_dx, dx, limit, "dx");
    expect_close(got_dW, dW, limit, "dW");
    expect_close(got_db, db, limit, "db");
    expect_close({std::accumulate(all_db.begin(), all_db.end(), 0.0)}, {0}, limit, "row sums",
                 terms);
  }
}

// More than 2^31 logits, of which only those of the last tokens are ever touched: tokens without a
// target cost nothing.
TEST_P(LinearSoftmaxXentLargeTest, OffsetsReachBeyondTwoToTheThirtyOne) {
  constexpr int64_t N = 2200, D = 2, V = 1000003, kLast = 3;
  static_assert(N * V > int64_t(1) << 31);
  Problem last = make_problem({kLast, D, V}, act(), false, 29);
  last.target = {0, 999999, V - 1};
  const HeadOracle expected = last.oracle();
  Problem p = last;
  p.dims.N = N;
  p.x.insert(p.x.begin(), size_t((N - kLast) * D), 0.5);
  p.target.insert(p.target.begin(), size_t(N - kLast), -1);
  p.dloss.insert(p.dloss.begin(), size_t(N - kLast), 1);
  for (size_t budget : {kWhole, size_t(1) << 20}) {
    XentArrays r(backend(), act(), p);
    LinearSoftmaxXent args = r.training();
    const size_t bytes = scratch_bytes(args, budget);
    EXPECT_EQ(bytes > size_t(N * V) * size_of(act()), budget == kWhole);
    const VastMemory memory(backend(), bytes);
    args.scratch = {memory.data(), bytes};
    linear_softmax_xent(exec(), args);
    synchronize();
    const double limit = tolerance(GetParam());
    const auto loss = r.loss.read(), dx = r.dx.read();
    expect_close({loss.end() - kLast, loss.end()}, expected.loss, limit, "loss");
    expect_close({dx.end() - kLast * D, dx.end()}, expected.dx, limit, "dx");
    expect_close(r.dW.read(), expected.dW, limit, "dW");
    EXPECT_EQ(std::accumulate(loss.begin(), loss.end() - kLast, 0.0), 0);
  }
}

UNROLL_ON_TARGETS(LinearSoftmaxXentLargeTest);
#endif

}  // namespace
}  // namespace unroll::test
