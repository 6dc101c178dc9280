// sampler.h and sampled_xent.h: draws follow their distribution and are those of the formula on
// every device; losses and gradients of both objectives against the definition in double and
// against central differences; accidental hits; turns of any height.
#include "kernels/heads/sampled_xent.h"

#include <array>

#include "host/ops/sampled_softmax.h"
#include "kernels/base/error.h"
#include "kernels/base/philox.h"
#include "kernels/heads/sampler.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using Values = std::vector<double>;

struct Problem {
  SampledObjective objective;
  int64_t N, D, V, S;
  Values x, W, b, log_q, target, ids, dloss;
  double log_normalizer;
};

Problem make_problem(SampledObjective objective, int64_t N, int64_t D, int64_t S, DType act,
                     unsigned seed) {
  Problem p{objective, N, D, 23, S, {}, {}, {}, {}, {}, {}, {}, 0.7};
  const DType acc = accumulate_type(act);
  p.x = random_values(N * D, act, seed);
  p.W = random_values(p.V * D, act, seed + 1);
  p.b = random_values(p.V, acc, seed + 2);
  p.log_q = random_values(p.V, acc, seed + 3);
  for (double& v : p.log_q) v = rounded(v - 3, acc);
  p.target = random_ids(N, int(p.V), seed + 4);
  p.ids = random_ids(S, int(p.V), seed + 5);
  p.ids[0] = p.target[0];          // an accidental hit, and
  if (S > 2) p.ids[2] = p.ids[1];  // a word that is drawn twice
  if (N > 3) p.target[3] = -1;
  p.dloss = random_values(N, acc, seed + 6);
  return p;
}

struct Result {
  Values loss, dx, dW_true, db_true, dW_sample, db_sample;
  bool operator==(const Result&) const = default;
};

// The definition, term by term.
Result oracle(const Problem& p) {
  Result r{Values(size_t(p.N)), Values(size_t(p.N * p.D)), Values(size_t(p.N * p.D)),
           Values(size_t(p.N)), Values(size_t(p.S * p.D)), Values(size_t(p.S))};
  const double c = p.objective == SampledObjective::nce ? p.log_normalizer : 0;
  for (int64_t n = 0; n < p.N; ++n) {
    const int64_t t = int64_t(p.target[size_t(n)]);
    if (t < 0) continue;
    const auto score = [&](int64_t w) {
      double z = p.b[size_t(w)] - p.log_q[size_t(w)] - std::log(double(p.S)) - c;
      for (int64_t d = 0; d < p.D; ++d) z += p.W[size_t(w * p.D + d)] * p.x[size_t(n * p.D + d)];
      return z;
    };
    double dz_true = 0;
    Values dz(size_t(p.S), 0.0);
    double& loss = r.loss[size_t(n)];
    if (p.objective == SampledObjective::softmax) {
      const double own = score(t) + p.log_q[size_t(t)] + std::log(double(p.S));  // uncorrected
      double sum = std::exp(own);
      for (const double w : p.ids)
        if (int64_t(w) != t) sum += std::exp(score(int64_t(w)));
      loss = std::log(sum) - own;
      dz_true = std::exp(own) / sum - 1;
      for (size_t s = 0; s < dz.size(); ++s)
        if (int64_t(p.ids[s]) != t) dz[s] = std::exp(score(int64_t(p.ids[s]))) / sum;
    } else {
      loss = std::log(1 + std::exp(-score(t)));
      dz_true = -1 / (1 + std::exp(score(t)));
      for (size_t s = 0; s < dz.size(); ++s) {
        const double z = score(int64_t(p.ids[s]));
        loss += std::log(1 + std::exp(z));
        dz[s] = 1 / (1 + std::exp(-z));
      }
    }
    const double weight = p.dloss[size_t(n)];
    r.db_true[size_t(n)] = weight * dz_true;
    for (int64_t d = 0; d < p.D; ++d) {
      const double x = p.x[size_t(n * p.D + d)];
      double& dx = r.dx[size_t(n * p.D + d)];
      r.dW_true[size_t(n * p.D + d)] = weight * dz_true * x;
      dx = weight * dz_true * p.W[size_t(t * p.D + d)];
      for (int64_t s = 0; s < p.S; ++s) {
        const double g = weight * dz[size_t(s)];
        dx += g * p.W[size_t(int64_t(p.ids[size_t(s)]) * p.D + d)];
        r.dW_sample[size_t(s * p.D + d)] += g * x;
      }
    }
    for (int64_t s = 0; s < p.S; ++s) r.db_sample[size_t(s)] += weight * dz[size_t(s)];
  }
  return r;
}

Result run(const Backend& backend, DType act, const Problem& p, int rows) {
  const DType acc = accumulate_type(act);
  const auto rows_of = [&](const Values& ids) {
    Values v;
    for (const double w : ids)
      for (int64_t d = 0; d < p.D; ++d) v.push_back(w < 0 ? 0 : p.W[size_t(int64_t(w) * p.D + d)]);
    return v;
  };
  Array<2> x(backend, act, {p.N, p.D}, 3), W_true(backend, act, {p.N, p.D}, 1),
      W_sample(backend, act, {p.S, p.D}, 2), dx(backend, act, {p.N, p.D}, 5),
      dW_true(backend, acc, {p.N, p.D}, 2), dW_sample(backend, acc, {p.S, p.D}, 1);
  Array<1> b(backend, acc, {p.V}), log_q(backend, acc, {p.V}), target(backend, DType::i32, {p.N}),
      ids(backend, DType::i32, {p.S}), dloss(backend, acc, {p.N}), loss(backend, acc, {p.N}, 2),
      db_true(backend, acc, {p.N}, 2), db_sample(backend, acc, {p.S}, 2);
  x.fill(p.x);
  W_true.fill(rows_of(p.target));
  W_sample.fill(rows_of(p.ids));
  b.fill(p.b);
  log_q.fill(p.log_q);
  target.fill(p.target);
  ids.fill(p.ids);
  dloss.fill(p.dloss);
  const size_t bytes = sampled_xent_scratch_bytes(act, rows, int(p.S));
  Array<1> scratch(backend, DType::u8, {int64_t(bytes)}, 64);
  sampled_xent(backend.exec(), {.objective = p.objective,
                                .log_normalizer = p.log_normalizer,
                                .loss = loss,
                                .dx = dx,
                                .dW_true = dW_true,
                                .db_true = db_true,
                                .dW_sample = dW_sample,
                                .db_sample = db_sample,
                                .x = x,
                                .W_true = W_true,
                                .W_sample = W_sample,
                                .b = b,
                                .log_q = log_q,
                                .target = target,
                                .ids = ids,
                                .dloss = dloss,
                                .scratch = {scratch.view.data, bytes}});
  backend.stream().synchronize();
  EXPECT_TRUE(scratch.padding_untouched() && dx.padding_untouched() &&
              dW_true.padding_untouched() && dW_sample.padding_untouched() &&
              loss.padding_untouched() && db_true.padding_untouched() &&
              db_sample.padding_untouched());
  return {loss.read(),    dx.read(),        dW_true.read(),
          db_true.read(), dW_sample.read(), db_sample.read()};
}

constexpr SampledObjective kObjectives[] = {SampledObjective::softmax, SampledObjective::nce};

class SampledXentTest : public OnTargets {};

TEST_P(SampledXentTest, EqualsTheDefinitionInTurnsOfAnyHeight) {
  for (const SampledObjective objective : kObjectives)
    for (const auto& [N, D, S] : {std::array<int64_t, 3>{1, 3, 1}, {9, 13, 7}, {19, 40, 301}})
      for (const int rows : {1, 4, 100}) {
        if (rows == 1 && N > 9) continue;
        const Problem p = make_problem(objective, N, D, S, act(), unsigned(N));
        const Result expected = oracle(p), got = run(backend(), act(), p, rows);
        const double t = tolerance(GetParam());
        expect_close(got.loss, expected.loss, t, "loss");
        expect_close(got.dx, expected.dx, t, "dx");
        expect_close(got.dW_true, expected.dW_true, t, "dW of targets");
        expect_close(got.db_true, expected.db_true, t, "db of targets");
        expect_close(got.dW_sample, expected.dW_sample, t, "dW of samples");
        expect_close(got.db_sample, expected.db_sample, t, "db of samples");
        if (rows == 4) {
          EXPECT_TRUE(got == run(backend(), act(), p, rows)) << "not deterministic";
        }
      }
}

// Every word drawn exactly as often as it is expected to be: the loss is that over all words.
TEST_P(SampledXentTest, SamplesInProportionGiveTheSoftmaxOverAllWords) {
  Problem p = make_problem(SampledObjective::softmax, 9, 13, 1, act(), 2);
  p.ids.clear();
  for (int64_t w = 0; w < p.V; ++w) p.ids.insert(p.ids.end(), size_t(1 + w % 5), double(w));
  p.S = int64_t(p.ids.size());
  for (int64_t w = 0; w < p.V; ++w) p.log_q[size_t(w)] = std::log(double(1 + w % 5) / double(p.S));
  Values expected(size_t(p.N), 0.0);
  for (int64_t n = 0; n < p.N; ++n) {
    if (p.target[size_t(n)] < 0) continue;
    double sum = 0, own = 0;
    for (int64_t w = 0; w < p.V; ++w) {
      double z = p.b[size_t(w)];
      for (int64_t d = 0; d < p.D; ++d) z += p.W[size_t(w * p.D + d)] * p.x[size_t(n * p.D + d)];
      sum += std::exp(z);
      if (double(w) == p.target[size_t(n)]) own = z;
    }
    expected[size_t(n)] = std::log(sum) - own;
  }
  expect_close(run(backend(), act(), p, 4).loss, expected, tolerance(GetParam()), "loss");
}

TEST_P(SampledXentTest, DrawsTheWordsOfTheFormula) {
  for (const int64_t V : {1, 2, 37, 1000}) {
    const AliasTable table = alias_table(log_uniform(V));
    const int64_t S = 1003;
    Array<1> keep(backend(), DType::u32, {V}), alias(backend(), DType::i32, {V}),
        counter(backend(), DType::u64, {2}), ids(backend(), DType::i32, {S}, 3);
    keep.fill(table.keep);
    alias.fill(table.alias);
    counter.fill({5, 77});
    draw_samples(exec(), {.ids = ids, .keep = keep, .alias = alias, .counter = counter, .op = 9});
    synchronize();
    const Values got = ids.read();
    for (int64_t s = 0; s < S; ++s) {
      const Philox4 r = philox_block(5, 77, 9, uint64_t(s / 2));
      const size_t slot = size_t((uint64_t(V) * r.v[s % 2 ? 2 : 0]) >> 32);
      const bool keeps = double(r.v[s % 2 ? 3 : 1]) <= table.keep[slot];
      ASSERT_EQ(got[size_t(s)], keeps ? double(slot) : table.alias[slot]) << V << " " << s;
    }
    EXPECT_TRUE(ids.padding_untouched());
  }
}

TEST_P(SampledXentTest, RefusesBadArguments) {
  Problem p = make_problem(SampledObjective::softmax, 2, 3, 4, act(), 1);
  EXPECT_THROW(run(backend(), act(), p, 0), Error) << "no room for a row";
  Array<1> none(backend(), DType::i32, {3});
  EXPECT_THROW(draw_samples(exec(), {.ids = none, .keep = none, .alias = none, .counter = {}}),
               Error);
}

UNROLL_ON_TARGETS(SampledXentTest);

// The share of each word that the tables give is its probability, exactly but for 2^-32.
TEST(AliasTableTest, GivesEveryWordItsShare) {
  for (const Values& q : {log_uniform(1), log_uniform(57), unigram({1000, 10, 9, 9, 1, 1, 0, 0})}) {
    const AliasTable table = alias_table(q);
    const size_t V = q.size();
    Values share(V, 0.0);
    double total = 0;
    for (const double x : q) total += x;
    for (size_t v = 0; v < V; ++v) {
      const double keep = (table.keep[v] + 1) / 4294967296.0;
      share[v] += keep / double(V);
      share[size_t(table.alias[v])] += (1 - keep) / double(V);
    }
    for (size_t v = 0; v < V; ++v) {
      EXPECT_NEAR(share[v], q[v] / total, 1e-9) << v;
      EXPECT_NEAR(table.log_q[v], std::log(q[v] / total), 1e-12);
    }
  }
  EXPECT_NEAR(std::exp(alias_table(log_uniform(10)).log_q[0]), std::log(2) / std::log(11), 1e-12);
  EXPECT_THROW(alias_table({0.5, 0}), Error);
}

}  // namespace
}  // namespace unroll::test
