// class_xent.h: losses and gradients against a softmax written out class by class, turns of any
// height, classes without rows and of one word, whole distributions.
#include "kernels/heads/class_xent.h"

#include "kernels/base/error.h"
#include "kernels/heads/partition_rows.h"
#include "tests/harness/tolerances.h"
#include "tests/oracle/heads.h"

namespace unroll::test {
namespace {

using Values = std::vector<double>;

struct Problem {
  int64_t N, D;
  Values bounds, x, W, b, target, dloss;
  int64_t V() const { return int64_t(bounds.back()); }
};

// Classes of 1, 1, 5, 0, 3 and 40 words.
Problem make_problem(int64_t N, int64_t D, DType act, unsigned seed) {
  Problem p{N, D, {0, 1, 2, 7, 7, 10, 50}, {}, {}, {}, {}, {}};
  p.x = random_values(N * D, act, seed);
  p.W = random_values(p.V() * D, act, seed + 1);
  p.b = random_values(p.V(), accumulate_type(act), seed + 2);
  p.target = random_ids(N, int(p.V()), seed + 3);
  for (size_t n = 0; n < p.target.size(); ++n) {
    if (p.target[n] >= 7 && p.target[n] < 10) p.target[n] = 0;  // a class without rows
    if (n % 5 == 2) p.target[n] = -1;
    if (n % 5 == 3) p.target[n] = 40;  // duplicates
  }
  p.dloss = random_values(N, accumulate_type(act), seed + 4);
  return p;
}

// Loss and gradients within the class, by the output layer's oracle row by row.
HeadOracle oracle(const Problem& p) {
  HeadOracle sum;
  sum.loss.assign(size_t(p.N), 0);
  sum.dx.assign(size_t(p.N * p.D), 0);
  sum.dW.assign(size_t(p.V() * p.D), 0);
  sum.db.assign(size_t(p.V()), 0);
  for (int64_t n = 0; n < p.N; ++n) {
    const double word = p.target[size_t(n)];
    if (word < 0) continue;
    size_t c = 0;
    while (p.bounds[c + 1] <= word) ++c;
    const int64_t from = int64_t(p.bounds[c]), words = int64_t(p.bounds[c + 1]) - from;
    const auto piece = [&](const Values& v, int64_t first, int64_t count) {
      return Values(v.begin() + first, v.begin() + first + count);
    };
    const HeadOracle one =
        head_oracle(1, p.D, words, piece(p.x, n * p.D, p.D), piece(p.W, from * p.D, words * p.D),
                    p.b.empty() ? Values{} : piece(p.b, from, words), {word - double(from)},
                    {p.dloss[size_t(n)]});
    sum.loss[size_t(n)] = one.loss[0];
    for (int64_t d = 0; d < p.D; ++d) sum.dx[size_t(n * p.D + d)] = one.dx[size_t(d)];
    for (int64_t i = 0; i < words * p.D; ++i) sum.dW[size_t(from * p.D + i)] += one.dW[size_t(i)];
    for (int64_t i = 0; i < words; ++i) sum.db[size_t(from + i)] += one.db[size_t(i)];
  }
  return sum;
}

class ClassXentTest : public OnTargets {
 protected:
  struct Result {
    Values loss, dx, dW, db;
    bool operator==(const Result&) const = default;
  };
  // Everything that is added to starts at `before`.
  Result run(const Problem& p, bool gradients, size_t budget, Accumulate to, double before) {
    const int64_t C = int64_t(p.bounds.size()) - 1, largest = 40;
    Array<2> x(backend(), act(), {p.N, p.D}, 3), W(backend(), act(), {p.V(), p.D}, 1),
        dx(backend(), act(), {p.N, p.D}, 5), dW(backend(), acc(), {p.V(), p.D}, 2);
    Array<1> b(backend(), acc(), {p.V()}), dloss(backend(), acc(), {p.N}),
        loss(backend(), acc(), {p.N}, 2), db(backend(), acc(), {p.V()}, 2),
        target(backend(), DType::i32, {p.N}), bounds(backend(), DType::i32, {C + 1}),
        group(backend(), DType::i32, {p.N}), order(backend(), DType::i32, {p.N}),
        start(backend(), DType::i32, {C + 1});
    x.fill(p.x);
    W.fill(p.W);
    if (!p.b.empty()) b.fill(p.b);
    dloss.fill(p.dloss);
    target.fill(p.target);
    bounds.fill(p.bounds);
    loss.fill(before);
    dx.fill(before);
    if (to == Accumulate::add) {
      dW.fill(before);
      db.fill(before);
    }
    const size_t sort_bytes = partition_rows_scratch_bytes(exec(), int(p.N));
    Array<1> sort_scratch(backend(), DType::u8, {int64_t(sort_bytes)});
    partition_rows(exec(), {.group = group,
                            .order = order,
                            .start = start,
                            .target = target,
                            .bounds = bounds,
                            .scratch = {sort_scratch.view.data, sort_bytes}});
    const size_t bytes =
        class_xent_scratch_bytes(exec(), act(), p.N, p.D, largest, gradients, budget);
    Array<1> scratch(backend(), DType::u8, {int64_t(bytes)}, 256);
    ClassXent args{.loss = loss,
                   .x = x,
                   .W = W,
                   .target = target,
                   .order = order,
                   .group = group,
                   .start = start,
                   .bounds = bounds,
                   .largest = largest,
                   .scratch = {scratch.view.data, bytes}};
    if (!p.b.empty()) args.b = b;
    if (gradients) {
      args.dx = dx;
      args.dW = dW;
      if (!p.b.empty()) args.db = db;
      args.to_dW = args.to_db = to;
      args.dloss = dloss;
    }
    class_xent(exec(), args);
    synchronize();
    EXPECT_TRUE(scratch.padding_untouched()) << "wrote beyond the scratch";
    EXPECT_TRUE(loss.padding_untouched() && dx.padding_untouched() && dW.padding_untouched() &&
                db.padding_untouched());
    return {loss.read(), dx.read(), dW.read(), db.read()};
  }
};

TEST_P(ClassXentTest, EqualsOracleInTurnsOfAnyHeight) {
  for (const auto& [N, D] : {std::pair<int64_t, int64_t>{1, 3}, {33, 13}, {50, 40}})
    for (const size_t budget : {size_t(1) << 20, size_t(4000), size_t(0)})
      for (const Accumulate to : {Accumulate::overwrite, Accumulate::add}) {
        if (N == 50 && budget != 4000) continue;
        Problem p = make_problem(N, D, act(), unsigned(N));
        if (budget == 4000) p.b.clear();
        HeadOracle expected = oracle(p);
        const double before = 0.5;
        for (double& v : expected.loss) v += before;
        for (double& v : expected.dx) v += before;
        if (to == Accumulate::add) {
          for (double& v : expected.dW) v += before;
          for (double& v : expected.db) v += before;
        }
        const Result got = run(p, true, budget, to, before);
        const double t = tolerance(GetParam());
        expect_close(got.loss, expected.loss, t, "loss");
        expect_close(got.dx, expected.dx, t, "dx");
        expect_close(got.dW, expected.dW, t, "dW");
        if (!p.b.empty()) expect_close(got.db, expected.db, t, "db");
        expect_close(run(p, false, budget, to, before).loss, expected.loss, t, "evaluation");
      }
}

TEST_P(ClassXentTest, TwoRunsAreBitEqualAndIgnoredRowsChangeNothing) {
  Problem p = make_problem(33, 13, act(), 5);
  EXPECT_TRUE(run(p, true, 5000, Accumulate::overwrite, 0) ==
              run(p, true, 5000, Accumulate::overwrite, 0));
  p.target.assign(33, -1);
  const Result none = run(p, true, 5000, Accumulate::overwrite, 0);
  for (const Values* v : {&none.loss, &none.dx, &none.dW, &none.db})
    for (const double x : *v) EXPECT_EQ(x, 0);
}

TEST_P(ClassXentTest, DistributionsEqualTheDefinitionAndSumToOne) {
  const int64_t N = 5, V = 50, C = 6;
  const Values bounds = {0, 1, 2, 7, 7, 10, 50}, z = random_values(N * V, acc(), 3, 4);
  Values log_class = random_values(N * C, acc(), 4);
  for (int64_t n = 0; n < N; ++n) {  // normalised over classes that have words
    double sum = 0;
    for (int64_t c = 0; c < C; ++c)
      if (c != 3) sum += std::exp(log_class[size_t(n * C + c)]);
    for (int64_t c = 0; c < C; ++c)
      log_class[size_t(n * C + c)] = rounded(log_class[size_t(n * C + c)] - std::log(sum), acc());
  }
  Array<2> log_p(backend(), acc(), {N, V}, 3), classes(backend(), acc(), {N, C}, 2);
  Array<1> b(backend(), DType::i32, {C + 1});
  log_p.fill(z);
  classes.fill(log_class);
  b.fill(bounds);
  class_log_softmax(exec(), {.log_p = log_p, .log_class = classes, .bounds = b});
  synchronize();
  Values expected(size_t(N * V));
  for (int64_t n = 0; n < N; ++n)
    for (int64_t c = 0; c < C; ++c) {
      double sum = 0;
      for (int64_t v = int64_t(bounds[size_t(c)]); v < bounds[size_t(c) + 1]; ++v)
        sum += std::exp(z[size_t(n * V + v)]);
      for (int64_t v = int64_t(bounds[size_t(c)]); v < bounds[size_t(c) + 1]; ++v)
        expected[size_t(n * V + v)] =
            z[size_t(n * V + v)] - std::log(sum) + log_class[size_t(n * C + c)];
    }
  const Values got = log_p.read();
  const Target exact{GetParam().device, acc()};  // nothing here is in bf16
  expect_close(got, expected, tolerance(exact), "log p");
  for (int64_t n = 0; n < N; ++n) {
    double sum = 0;
    for (int64_t v = 0; v < V; ++v) sum += std::exp(got[size_t(n * V + v)]);
    EXPECT_NEAR(sum, 1, 20 * tolerance(exact));
  }
  EXPECT_TRUE(log_p.padding_untouched());
}

TEST_P(ClassXentTest, RefusesBadArguments) {
  Array<2> x(backend(), act(), {3, 4}), W(backend(), act(), {9, 4});
  Array<1> ids(backend(), DType::i32, {3}), bounds(backend(), DType::i32, {3}),
      loss(backend(), acc(), {3});
  ClassXent args{.loss = loss,
                 .x = x,
                 .W = W,
                 .target = ids,
                 .order = ids,
                 .group = ids,
                 .start = bounds,
                 .bounds = bounds,
                 .largest = 5};
  EXPECT_THROW(class_xent(exec(), args), Error) << "no scratch";
  args.largest = 10;
  EXPECT_THROW(class_xent(exec(), args), Error) << "more words than there are";
}

UNROLL_ON_TARGETS(ClassXentTest);

}  // namespace
}  // namespace unroll::test
