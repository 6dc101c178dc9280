// clip.h: norms by group in a fixed order, factors on both sides of the bound, norms that are not
// finite, counts, the share in the mean.
#include "kernels/update/clip.h"

#include "kernels/base/error.h"
#include "tests/kernels/update/slab_case.h"

namespace unroll::test {
namespace {

using ClipTest = OnTargets;

UpdateScales scales_of(SlabCase& s) {
  const auto v = s.scales.read();
  return {v[0], v[1], v[2], v[3], v[4], v[5]};
}
double factor_of(SlabCase& s, int group = 0) {
  return s.scales.read()[size_t(kUpdateScales + group)];
}

// Weights of one piece, of exactly one, and of several with a remainder.
std::vector<SlabCase::Weight> large() {
  return {{7, 16}, {2, kPieceEntries / 2}, {301, 117}, {33, 0}};
}

TEST_P(ClipTest, NormIsTheSumOfSquares) {
  SlabCase s(backend(), act(), large());
  const auto values = random_values(s.n, acc(), 1, 2);
  const auto g = s.spread([&](int64_t k) { return values[size_t(k)]; });
  double expected = 0;
  for (double v : g) expected += v * v;
  s.g.fill(g);
  s.inputs.fill({0.5, 3, 0});
  s.clip(exec());
  const UpdateScales scales = scales_of(s);
  EXPECT_NEAR(scales.norm2 / expected, 1, acc() == DType::f64 ? 1e-13 : 2e-7);
  EXPECT_NEAR(factor_of(s) * std::sqrt(expected) / 3, 1, 1e-6);
  EXPECT_EQ(scales.apply, 1);
  EXPECT_EQ(scales.lr, 0.5);
}

// One entry among zeros: none is missed and none is counted twice, in any piece.
TEST_P(ClipTest, EveryEntryCountsOnce) {
  SlabCase s(backend(), act(), large());
  s.inputs.fill({1, 0, 0});
  const auto& last = s.params.entries().back();
  for (const SlabPiece& p : s.pieces)
    for (int64_t i : {int64_t(0), int64_t(p.count) / 2, int64_t(p.count) - 1}) {
      std::vector<double> g(size_t(s.n), 0);
      g[size_t(int64_t(p.offset) + i)] = 3;
      s.g.fill(g);
      s.clip(exec());
      EXPECT_EQ(scales_of(s).norm2, 9) << i << " of the piece at " << p.offset;
    }
  EXPECT_EQ(int64_t(s.pieces.back().offset) + s.pieces.back().count, last.offset + last.size());
}

TEST_P(ClipTest, FactorBelowAtAndAboveTheBound) {
  SlabCase s(backend(), act(), SlabCase::small());
  std::vector<double> g(size_t(s.n), 0);
  g[0] = 3;
  g[1] = 4;  // norm 5
  s.g.fill(g);
  const auto factor = [&](double bound) {
    s.inputs.fill({1, bound, 0});
    s.clip(exec());
    return factor_of(s);
  };
  EXPECT_EQ(factor(0), 1);
  EXPECT_EQ(factor(6), 1);
  EXPECT_DOUBLE_EQ(factor(5), 5 / (5 + 1e-6));  // clip_grad_norm_ scales by a hair at the bound
  EXPECT_DOUBLE_EQ(factor(2), 2 / (5 + 1e-6));
  s.g.fill(0.0);
  EXPECT_EQ(factor(2), 1);
  EXPECT_EQ(scales_of(s).norm2, 0);
  EXPECT_EQ(scales_of(s).apply, 1);
}

TEST_P(ClipTest, GroupsAreClippedApart) {
  SlabCase s(backend(), act(), {{7, 16, 1}, {9, 10, 0}, {5, 13, 2}, {33, 0, 1}}, {-1, 0.5, 0});
  s.g.fill(s.spread([](int64_t k) { return 1 + double(k % 3); }));
  s.inputs.fill({1, 2, 0});
  s.clip(exec());
  const auto g = s.g.read();
  double norm2[3] = {};
  const int groups[] = {1, 0, 2, 1};
  for (size_t w = 0; w < 4; ++w) {
    const ParamStore::Entry& e = s.params.entries()[w];
    for (int64_t i = e.offset; i < e.offset + e.size(); ++i)
      norm2[groups[w]] += g[size_t(i)] * g[size_t(i)];
  }
  EXPECT_NEAR(factor_of(s, 0), 2 / (std::sqrt(norm2[0]) + 1e-6), 1e-12);
  EXPECT_NEAR(factor_of(s, 1), 0.5 / (std::sqrt(norm2[1]) + 1e-6), 1e-12);
  EXPECT_EQ(factor_of(s, 2), 1);
  EXPECT_EQ(scales_of(s).norm2, norm2[0] + norm2[1] + norm2[2]);
}

TEST_P(ClipTest, NonFiniteNormsAreNotApplied) {
  SlabCase s(backend(), act(), {{7, 16, 0}, {301, 117, 1}}, {-1, -1});
  s.inputs.fill({1, 2, 1});
  for (double bad : {NAN, INFINITY, -INFINITY})
    for (int64_t i : {int64_t(0), int64_t(7 * 16 - 1), s.n - 70}) {
      std::vector<double> g(size_t(s.n), 0);
      g[size_t(i)] = bad;
      s.g.fill(g);
      s.clip(exec());
      EXPECT_FALSE(std::isfinite(scales_of(s).norm2)) << bad << " at " << i;
      EXPECT_EQ(scales_of(s).apply, 0);
      EXPECT_EQ(s.counts.read(), (std::vector<double>{0, 0}));
    }
}

TEST_P(ClipTest, CountsAndShareInTheMean) {
  SlabCase s(backend(), act(), SlabCase::small());
  s.g.fill(0.0);
  const double shares[] = {0, 0, 1, 1, 0.5, 1.0 / 3, 0.25};
  for (int k = 0; k < 7; ++k) {
    s.inputs.fill({1, 0, k < 2 ? 0.0 : 1.0});
    s.clip(exec(), 0.9, 0.99);
    const UpdateScales scales = scales_of(s);
    EXPECT_DOUBLE_EQ(scales.mean, shares[k]) << k;
    EXPECT_NEAR(scales.correction1, 1 / (1 - std::pow(0.9, k + 1)), 1e-13);
    EXPECT_NEAR(scales.correction2, 1 / (1 - std::pow(0.99, k + 1)), 1e-11);
  }
  EXPECT_EQ(s.counts.read(), (std::vector<double>{7, 5}));
}

TEST_P(ClipTest, AnyThreadCountIsBitEqual) {
  SlabCase s(backend(), act(), large());
  s.g.fill(random_values(s.n, acc(), 3));
  s.inputs.fill({1, 2, 0});
  std::vector<unsigned char> first;
  for (int threads : {1, 3, 3}) {
    Exec e = exec();
    e.threads = threads;
    s.counts.fill(0.0);
    s.clip(e);
    if (first.empty()) first = s.scales.bytes();
    EXPECT_EQ(s.scales.bytes(), first);
  }
}

TEST_P(ClipTest, RefusesBadArguments) {
  SlabCase s(backend(), act(), SlabCase::small());
  const auto refuses = [&](auto change) {
    Clip args{.scales = s.scales,
              .counts = s.counts,
              .g = s.g,
              .pieces = s.piece_table(),
              .group_first = s.group_first,
              .clips = s.clips,
              .inputs = s.inputs,
              .scratch = {s.a.view.data, 1 << 9}};
    change(args);
    EXPECT_THROW(clip(exec(), args), Error);
  };
  refuses([](Clip& c) { c.scratch.bytes = 8; });
  refuses([](Clip& c) { c.scales = c.counts; });
  refuses([](Clip& c) { c.group_first = c.clips; });
  clip(backend().measuring(), {});
}

UNROLL_ON_TARGETS(ClipTest);

}  // namespace
}  // namespace unroll::test
