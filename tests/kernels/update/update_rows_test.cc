// update_rows.h, and clip.h with a gradient by rows: what an optimiser makes of the rows that are
// used equals what it makes of the whole gradient with zeros elsewhere, bit for bit.
#include "kernels/update/update_rows.h"

#include <algorithm>
#include <map>
#include <string>

#include "host/optim/optimizer.h"
#include "kernels/base/error.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {
namespace {

using UpdateRowsTest = OnTargets;

struct Table {
  int64_t V, D, N;
  UpdateRule rule;
  unsigned steps = 1;
};
// Rows within a strip and beyond one; rows that cross the borders of pieces; rows of several pieces.
constexpr Table kTables[] = {{61, 13, 9, UpdateRule::sgd, 3},
                             {61, 13, 9, UpdateRule::adagrad, 3},
                             {2503, 7, 40, UpdateRule::sgd},
                             {37, 504, 17, UpdateRule::adagrad},
                             {2, 16401, 4, UpdateRule::sgd}};

// A model with two tables between other weights, their gradients whole or by rows.
struct Trained {
  ParamStore params;
  std::unique_ptr<Optimizer> optimizer;
  Array<1> inputs;

  Trained(const Backend& backend, DType act, const Table& t, const OptimizerSettings& settings,
          bool by_rows)
      : inputs(backend, DType::f64, {kUpdateInputs}) {
    params.add("other", 9, 10, uniform(1));
    params.touch_by_rows(params.add("words", t.V, t.D, uniform(1)));
    params.add("bias", 33, 0, uniform(1));
    params.touch_by_rows(params.add("output", 19, 5, uniform(1)), 3);
    if (by_rows) params.keep_row_gradients(1);
    params.materialize(backend, act, 3);
    optimizer = std::make_unique<Optimizer>(backend, params, settings);
  }
  // Gradients by name; of the tables as rows where they are kept so.
  void update(const Backend& backend, double clip,
              const std::map<std::string, std::vector<double>>& g,
              const std::vector<RowGradient>& rows = {}) {
    for (size_t i = 0; i < params.entries().size(); ++i) {
      const ParamStore::Entry& e = params.entries()[i];
      if (e.in_rows) continue;
      Array<1> all(backend, params.acc(), {e.size()});
      all.fill(g.at(e.name));
      backend.stream().copy(params.vector_gradient({int(i)}).data, all.view.data,
                            size_t(e.size()) * size_of(params.acc()));
    }
    Array<1> scratch(backend, DType::u8, {int64_t(optimizer->scratch_bytes())});
    inputs.fill({0.5, clip, 0});
    optimizer->update(backend.exec(), params, inputs,
                      {scratch.view.data, optimizer->scratch_bytes()}, rows);
    backend.stream().synchronize();
  }
  // Weights, shadow, slots and counts, byte by byte.
  std::vector<unsigned char> bytes(const Backend& backend) const {
    std::vector<unsigned char> all;
    const auto append = [&](const void* data, size_t size) {
      const size_t at = all.size();
      all.resize(at + size);
      backend.stream().copy(all.data() + at, data, size);
      backend.stream().synchronize();
    };
    append(params.slab().data, size_t(params.slab().n[0]) * size_of(params.acc()));
    if (params.shadow()) append(params.shadow().data, size_t(params.shadow().n[0]) * 2);
    for (const auto& slot : optimizer->slots()) append(slot.memory->data(), slot.memory->bytes());
    append(optimizer->norm2().data, sizeof(double));
    return all;
  }
};

// A random gradient by rows, and the whole one that it stands for.
struct Rows {
  std::vector<double> whole;
  Array<1> words;
  Array<2> values;

  Rows(const Backend& backend, DType acc, int64_t V, int64_t D, int64_t N, unsigned seed,
       bool with_nan)
      : whole(size_t(V * D), 0), words(backend, DType::u32, {N}), values(backend, acc, {N, D}) {
    // Words in rising order, some several times, and padding behind them.
    auto word = random_ids(N, int(V), 7 + seed);
    word.back() = double(V);
    word[0] = double(V - 1);
    std::sort(word.begin(), word.end());
    auto v = random_values(N * D, acc, 11 + seed);
    if (with_nan) v[0] = NAN;  // the first word's
    for (int64_t i = 0; i < N; ++i) {
      const int64_t row = int64_t(word[size_t(i)]);
      const bool used = row < V && (i == 0 || word[size_t(i)] != word[size_t(i) - 1]);
      for (int64_t d = 0; d < D; ++d) {
        double& value = v[size_t(i * D + d)];
        if (used)
          whole[size_t(row * D + d)] = value;
        else
          value = NAN;  // is not read
      }
    }
    words.fill(word);
    values.fill(v);
  }
};

TEST_P(UpdateRowsTest, EqualsTheWholeGradientBitForBit) {
  for (const Table& t : kTables) {
    OptimizerSettings settings;
    settings.rule = t.rule;
    if (t.V != 61) settings.clip_groups = {{"bias", -1}, {"output", 0.5}, {"words", 0.75}};
    Trained whole(backend(), act(), t, settings, false), rows(backend(), act(), t, settings, true);
    const auto padded = [](int64_t n) { return (n + 63) / 64 * 64; };
    const int64_t n = whole.params.slab().n[0];
    const int64_t tables = padded(t.V * t.D) + padded(19 * 5);
    EXPECT_EQ(rows.params.slab().n[0], n);
    EXPECT_EQ(rows.params.gradient_slab().n[0], n - tables);
    EXPECT_EQ(whole.params.bytes(act()) - rows.params.bytes(act()),
              size_t(tables) * size_of(acc()));
    for (unsigned step = 0; step < t.steps; ++step) {
      // The norm of the second step is no number: it is skipped.
      const Rows words(backend(), acc(), t.V, t.D, t.N, step, step == 1);
      const Rows output(backend(), acc(), 19, 5, 6, step + 50, step == 2);
      const std::map<std::string, std::vector<double>> g = {
          {"words", words.whole},
          {"output", output.whole},
          {"other", random_values(90, acc(), 17 + step)},
          {"bias", random_values(33, acc(), 27 + step)}};
      whole.update(backend(), 1.25, g);
      rows.update(backend(), 1.25, g,
                  {{words.words.view, words.values.view}, {output.words.view, output.values.view}});
      EXPECT_TRUE(whole.bytes(backend()) == rows.bytes(backend()))
          << t.V << "x" << t.D << ", rule " << int(t.rule) << ", step " << step;
    }
    EXPECT_THROW(
        rows.update(backend(), 1.25,
                    {{"other", std::vector<double>(90)}, {"bias", std::vector<double>(33)}}),
        Error)
        << "rows are not given";
  }
}

TEST_P(UpdateRowsTest, AreKeptWhereAChunkLeavesRowsOut) {
  ParamStore params;
  const Param words = params.add("words", 100, 3, zero()), W = params.add("W", 100, 3, zero()),
              other = params.add("other", 100, 3, zero());
  params.touch_by_rows(words);
  params.touch_by_rows(W, 40);
  const auto kept = [&](int64_t tokens) {
    params.keep_row_gradients(tokens);
    EXPECT_FALSE(params.in_rows(other));
    return std::pair(params.in_rows(words), params.in_rows(W));
  };
  EXPECT_EQ(kept(59), std::pair(true, true));
  EXPECT_EQ(kept(60), std::pair(true, false));
  EXPECT_EQ(kept(100), std::pair(false, false));
  EXPECT_THROW(params.touch_by_rows(params.add("b", 100, 0, zero())), Error);
}

TEST_P(UpdateRowsTest, RefusesRulesThatMoveOtherRows) {
  for (UpdateRule rule : {UpdateRule::momentum, UpdateRule::asgd, UpdateRule::rmsprop,
                          UpdateRule::adam, UpdateRule::adamw})
    EXPECT_FALSE(leaves_untouched(rule, 0));
  EXPECT_FALSE(leaves_untouched(UpdateRule::sgd, 0.1));
  Array<2> theta(backend(), acc(), {7, 5}), rows(backend(), acc(), {3, 5});
  Array<1> words(backend(), DType::u32, {3}), scales(backend(), DType::f64, {kUpdateScales + 1});
  UpdateRows args{.theta = theta, .g = {words, rows}, .scales = scales};
  args.constants.decay = 0.1;
  EXPECT_THROW(update_rows(exec(), args), Error);
  args.constants.decay = 0;
  args.group = 1;
  EXPECT_THROW(update_rows(exec(), args), Error);
  update_rows(backend().measuring(), {});
}

UNROLL_ON_TARGETS(UpdateRowsTest);

}  // namespace
}  // namespace unroll::test
