// update_rows.h, and clip.h with a gradient by rows: what an optimiser makes of the rows that are
// used equals what it makes of the whole gradient with zeros elsewhere, bit for bit.
#include "kernels/update/update_rows.h"

#include <algorithm>

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

// A model of which the first weight is the table, its gradient whole or by rows.
struct Trained {
  ParamStore params;
  std::unique_ptr<Optimizer> optimizer;
  Array<1> inputs;

  Trained(const Backend& backend, DType act, const Table& t, const OptimizerSettings& settings,
          bool by_rows)
      : inputs(backend, DType::f64, {kUpdateInputs}) {
    const Param words = params.add("words", t.V, t.D, uniform(1));
    params.add("other", 9, 10, uniform(1));
    params.add("bias", 33, 0, uniform(1));
    params.read_by_rows(words);
    if (by_rows) params.keep_row_gradient();
    params.materialize(backend, act, 3);
    optimizer = std::make_unique<Optimizer>(backend, params, settings);
  }
  // Gradients are in order of the slab: those of the table, then the others'.
  void update(const Backend& backend, double clip, const std::vector<double>& g,
              const RowGradient& rows = {}) {
    const View1 slab = params.gradient_slab();
    Array<1> all(backend, params.acc(), {slab.n[0]});
    all.fill({g.end() - slab.n[0], g.end()});
    backend.stream().copy(slab.data, all.view.data, size_t(slab.n[0]) * size_of(slab.dtype));
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

TEST_P(UpdateRowsTest, EqualsTheWholeGradientBitForBit) {
  for (const Table& t : kTables) {
    OptimizerSettings settings;
    settings.rule = t.rule;
    if (t.V != 61) settings.clip_groups = {{"bias", -1}, {"words", 0.75}};
    Trained whole(backend(), act(), t, settings, false), rows(backend(), act(), t, settings, true);
    const int64_t n = whole.params.slab().n[0], table = (t.V * t.D + 63) / 64 * 64;
    EXPECT_EQ(rows.params.slab().n[0], n);
    EXPECT_EQ(rows.params.gradient_slab().n[0], n - table);
    EXPECT_EQ(whole.params.bytes(act()) - rows.params.bytes(act()), size_t(table) * size_of(acc()));
    for (unsigned step = 0; step < t.steps; ++step) {
      // Words in rising order, some several times, and padding behind them.
      auto words = random_ids(t.N, int(t.V), 7 + step);
      words.back() = double(t.V);
      words[0] = double(t.V - 1);
      std::sort(words.begin(), words.end());
      auto values = random_values(t.N * t.D, acc(), 11 + step);
      if (step == 1) values[0] = NAN;  // the first word's: the step is skipped
      const auto others = random_values(n, acc(), 17 + step);
      std::vector<double> g(static_cast<size_t>(n), 0);
      for (const ParamStore::Entry& e : whole.params.entries())
        if (e.name != "words") std::copy_n(others.begin(), e.size(), g.begin() + e.offset);
      for (int64_t i = 0; i < t.N; ++i) {
        const int64_t word = int64_t(words[size_t(i)]);
        const bool used = word < t.V && (i == 0 || words[size_t(i)] != words[size_t(i) - 1]);
        for (int64_t d = 0; d < t.D; ++d) {
          double& v = values[size_t(i * t.D + d)];
          if (used)
            g[size_t(word * t.D + d)] = v;
          else
            v = NAN;  // is not read
        }
      }
      Array<1> row_words(backend(), DType::u32, {t.N});
      Array<2> row_values(backend(), acc(), {t.N, t.D});
      row_words.fill(words);
      row_values.fill(values);
      whole.update(backend(), 1.25, g);
      rows.update(backend(), 1.25, g, {row_words, row_values});
      EXPECT_TRUE(whole.bytes(backend()) == rows.bytes(backend()))
          << t.V << "x" << t.D << ", rule " << int(t.rule) << ", step " << step;
    }
  }
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
