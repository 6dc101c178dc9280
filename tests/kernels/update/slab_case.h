// A slab of weights of several shapes on a target, with its table of pieces and its shadow, as
// ParamStore lays them out; and what clip and update take.
#pragma once

#include "host/memory/param_store.h"
#include "kernels/update/clip.h"
#include "kernels/update/update.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {

struct SlabCase {
  struct Weight {
    int64_t rows, columns;
    int group = 0;
  };
  // Rows of the shadow: whole strips, pairs, single entries; a vector; entries below one strip.
  static std::vector<Weight> small() { return {{7, 16}, {9, 10}, {5, 13}, {33, 0}, {1, 1}}; }

  ParamStore params;
  std::vector<SlabPiece> pieces;
  int64_t n = 0;
  Array<1> theta, a, b, g, scales, counts, inputs, clips, group_first;

  SlabCase(const Backend& backend, DType act, const std::vector<Weight>& weights,
           const std::vector<double>& group_clips = {-1})
      : params(declare(weights)),
        pieces(layout(backend, act, weights)),
        n(params.slab().n[0]),
        theta(backend, acc(act), {n}, 8),
        a(backend, acc(act), {n}, 8),
        b(backend, acc(act), {n}, 8),
        g(backend, acc(act), {n}),
        scales(backend, DType::f64, {kUpdateScales + int64_t(group_clips.size())}, 1),
        counts(backend, DType::f64, {kUpdateCounts}),
        inputs(backend, DType::f64, {kUpdateInputs}),
        clips(backend, DType::f64, {int64_t(group_clips.size())}),
        group_first(backend, DType::i32, {int64_t(group_clips.size()) + 1}),
        backend_(backend),
        table_(ParamStore::to_device(backend, pieces)) {
    a.fill(0.0);
    b.fill(0.0);
    counts.fill(0.0);
    clips.fill(group_clips);
    std::vector<double> first(group_clips.size() + 1, 0);
    for (const SlabPiece& p : pieces)
      for (size_t group = p.group + 1; group < first.size(); ++group) ++first[group];
    group_first.fill(first);
  }

  // Values in every weight and zeros between them, as a gradient slab has them.
  std::vector<double> spread(const std::function<double(int64_t)>& value) const {
    std::vector<double> all(size_t(n), 0);
    int64_t k = 0;
    for (const ParamStore::Entry& e : params.entries())
      for (int64_t i = 0; i < e.size(); ++i) all[size_t(e.offset + i)] = value(k++);
    return all;
  }
  void clip(const Exec& exec, double beta1 = 0, double beta2 = 0) {
    const size_t bytes = clip_scratch_bytes(int64_t(pieces.size()));
    Array<1> scratch(backend_, DType::u8, {int64_t(bytes)}, 64);
    unroll::clip(exec, {.scales = scales,
                        .counts = counts,
                        .g = g,
                        .pieces = ParamStore::piece_table(table_),
                        .group_first = group_first,
                        .clips = clips,
                        .inputs = inputs,
                        .beta1 = beta1,
                        .beta2 = beta2,
                        .scratch = {scratch.view.data, bytes}});
    backend_.stream().synchronize();
    EXPECT_TRUE(scratch.padding_untouched() && scales.padding_untouched());
  }
  void update(const Exec& exec, UpdateRule rule, const UpdateConstants& constants) {
    clip(exec, constants.beta1, constants.beta2);
    unroll::update(exec, {.rule = rule,
                          .constants = constants,
                          .theta = theta,
                          .a = slots_of(rule) > 0 ? a.view : View1{},
                          .b = slots_of(rule) > 1 ? b.view : View1{},
                          .g = g,
                          .shadow = params.shadow(),
                          .pieces = ParamStore::piece_table(table_),
                          .scales = scales});
    backend_.stream().synchronize();
  }
  View2 piece_table() const { return ParamStore::piece_table(table_); }

  // That the shadow holds every matrix, row by row, rounded to bf16, and zeros between the rows.
  void expect_shadow(const std::vector<double>& weights) const {
    if (!params.shadow()) return;
    std::vector<bf16> raw(size_t(params.shadow().n[0]));
    backend_.stream().copy(raw.data(), params.shadow().data, raw.size() * sizeof(bf16));
    backend_.stream().synchronize();
    std::vector<double> expected(raw.size(), 0);
    for (const ParamStore::Entry& e : params.entries())
      for (int64_t i = 0; i < e.rows * e.columns; ++i)
        expected[size_t(e.shadow_offset + i / e.columns * e.shadow_ld + i % e.columns)] =
            rounded(weights[size_t(e.offset + i)], DType::bf16);
    EXPECT_EQ(std::vector<double>(raw.begin(), raw.end()), expected);
  }

 private:
  static DType acc(DType act) { return accumulate_type(act); }
  static ParamStore declare(const std::vector<Weight>& weights) {
    ParamStore p;
    for (size_t i = 0; i < weights.size(); ++i)
      p.add("w" + std::to_string(i), weights[i].rows, weights[i].columns, zero());
    return p;
  }
  std::vector<SlabPiece> layout(const Backend& backend, DType act,
                                const std::vector<Weight>& weights) {
    params.materialize(backend, act, 1);
    return params.pieces([&](const ParamStore::Entry& e) {
      return weights[size_t(std::stoi(e.name.substr(1)))].group;
    });
  }
  const Backend& backend_;
  Buffer table_;
};

}  // namespace unroll::test
