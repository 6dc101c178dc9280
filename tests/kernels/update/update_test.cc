// update.h: every rule against torch.optim, weights of several pieces, clip groups, the shadow,
// steps that are skipped, slabs beyond 2^31 entries.
#include "kernels/update/update.h"

#include "kernels/base/error.h"
#include "tests/golden/torch_optim.h"
#include "tests/harness/vast_memory.h"
#include "tests/kernels/update/slab_case.h"

namespace unroll::test {
namespace {

using UpdateTest = OnTargets;

struct RuleCase {
  UpdateRule rule;
  UpdateConstants constants;
  double accumulator;
  const double (*golden)[torch_optim::kWeights];
};
std::vector<RuleCase> rule_cases() {
  using R = UpdateRule;
  constexpr double decay = torch_optim::kDecay;
  return {
      {R::sgd, {.decay = decay}, 0, torch_optim::sgd},
      {R::momentum, {.decay = decay, .momentum = 0.9}, 0, torch_optim::momentum},
      {R::momentum, {.decay = decay, .momentum = 0.9, .nesterov = true}, 0, torch_optim::nesterov},
      {R::asgd, {.decay = decay}, 0, torch_optim::asgd},
      {R::adagrad, {.decay = decay, .eps = 1e-3}, 0.25, torch_optim::adagrad},
      {R::rmsprop, {.decay = decay, .beta2 = 0.95, .eps = 1e-3}, 0, torch_optim::rmsprop},
      {R::adam, {.decay = decay, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3}, 0, torch_optim::adam},
      {R::adamw,
       {.decay = decay, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3},
       0,
       torch_optim::adamw}};
}

// The first weights and gradients are those of the golden values; all others repeat them, so that
// the norm is theirs times the root of the number of copies, and the bound grows with it.
TEST_P(UpdateTest, RulesEqualTorchOptim) {
  constexpr int kWeights = torch_optim::kWeights;
  const std::vector<SlabCase::Weight> weights = {{7, 15}, {10, 10}, {5, 16}, {35, 0}, {5, 1}};
  const int copies = (7 * 15 + 100 + 80 + 35 + 5) / kWeights;
  for (const RuleCase& c : rule_cases()) {
    SlabCase s(backend(), act(), weights);
    s.theta.fill(s.spread([](int64_t k) { return std::cos(double(k % kWeights)); }));
    s.a.fill(c.accumulator);
    for (int step = 1; step <= torch_optim::kSteps; ++step) {
      s.g.fill(s.spread([&](int64_t k) { return std::sin(double(k % kWeights + 2 * step)); }));
      // PyTorch adds 1e-6 to the norm; with many copies the bound has to have its part of it.
      double norm2 = 0;
      for (int i = 0; i < kWeights; ++i) norm2 += std::pow(std::sin(i + 2 * step), 2);
      const double root = std::sqrt(norm2);
      s.inputs.fill({torch_optim::kLr,
                     torch_optim::kClip * (std::sqrt(double(copies)) * root + 1e-6) / (root + 1e-6),
                     1});
      s.update(exec(), c.rule, c.constants);
      const double tolerance = acc() == DType::f64 ? 1e-13 : 2e-6;
      const auto expected = s.spread([&](int64_t k) { return c.golden[step - 1][k % kWeights]; });
      const auto got = s.theta.read();
      expect_close(got, expected, tolerance, "rule " + std::to_string(int(c.rule)));
      if (c.rule == UpdateRule::asgd)
        expect_close(s.a.read(), s.spread([&](int64_t k) {
          return torch_optim::asgd_mean[step - 1][k % kWeights];
        }),
                     tolerance, "mean");
      s.expect_shadow(got);
    }
    EXPECT_TRUE(s.theta.padding_untouched() && s.a.padding_untouched() && s.b.padding_untouched());
  }
}

// Several pieces a weight, whose borders lie within rows.
TEST_P(UpdateTest, WeightsOfSeveralPieces) {
  SlabCase s(backend(), act(), {{301, 117}, {171, 202}, {5, 16}});
  const auto theta = random_values(s.n, acc(), 1), g = random_values(s.n, acc(), 2);
  s.theta.fill(s.spread([&](int64_t k) { return theta[size_t(k)]; }));
  s.g.fill(s.spread([&](int64_t k) { return g[size_t(k)]; }));
  s.inputs.fill({0.5, 0, 0});
  const auto before = s.theta.read(), gradient = s.g.read();
  s.update(exec(), UpdateRule::sgd, {.decay = 0.125});
  auto expected = before;
  for (size_t i = 0; i < expected.size(); ++i)
    expected[i] -= 0.5 * (gradient[i] + 0.125 * expected[i]);
  const auto got = s.theta.read();
  expect_close(got, expected, acc() == DType::f64 ? 1e-14 : 2e-7, "theta");
  s.expect_shadow(got);
}

// Each group has its own factor.
TEST_P(UpdateTest, GroupsAreScaledApart) {
  SlabCase s(backend(), act(), {{7, 16, 1}, {9, 10, 0}}, {1, 0});
  s.theta.fill(0.0);
  s.g.fill(s.spread([](int64_t) { return 2; }));
  s.inputs.fill({1, 7, 0});
  s.update(exec(), UpdateRule::sgd, {});
  const auto got = s.theta.read();
  EXPECT_EQ(got[0], -2);  // a bound of 0 does not clip
  const double norm = 2 * std::sqrt(90.0);
  EXPECT_NEAR(got[size_t(s.params.entries()[1].offset)], -2 / (norm + 1e-6), 1e-7);
}

TEST_P(UpdateTest, NonFiniteNormChangesNothing) {
  for (const RuleCase& c : rule_cases()) {
    SlabCase s(backend(), act(), {{9, 10}, {33, 0}});
    s.theta.fill(random_values(s.n, acc(), 2));
    s.a.fill(random_values(s.n, acc(), 3));
    s.b.fill(0.5);
    s.inputs.fill({0.5, 1, 1});
    const auto theta = s.theta.bytes(), a = s.a.bytes(), b = s.b.bytes();
    for (double bad : {NAN, INFINITY}) {
      std::vector<double> g(size_t(s.n), 1);
      g[7] = bad;
      s.g.fill(g);
      s.update(exec(), c.rule, c.constants);
      EXPECT_EQ(s.theta.bytes(), theta);
      EXPECT_EQ(s.a.bytes(), a);
      EXPECT_EQ(s.b.bytes(), b);
    }
  }
}

// Until it is averaged, ASGD is SGD and its mean is neither read nor written.
TEST_P(UpdateTest, MeanIsLeftAloneUntilAveraging) {
  SlabCase s(backend(), act(), {{9, 10}}), sgd(backend(), act(), {{9, 10}});
  s.a.fill(NAN);
  const auto mean = s.a.bytes();
  for (SlabCase* c : {&s, &sgd}) {
    c->theta.fill(random_values(c->n, acc(), 5));
    c->g.fill(random_values(c->n, acc(), 6));
    c->inputs.fill({0.5, 1, 0});
    c->update(exec(), c == &s ? UpdateRule::asgd : UpdateRule::sgd, {.decay = 0.1});
  }
  EXPECT_EQ(s.theta.bytes(), sgd.theta.bytes());
  EXPECT_EQ(s.a.bytes(), mean);
  // The first averaged update replaces whatever was there.
  s.inputs.fill({0.5, 1, 1});
  s.update(exec(), UpdateRule::asgd, {.decay = 0.1});
  const auto got = s.a.read(), theta = s.theta.read();
  EXPECT_TRUE(std::equal(got.begin(), got.begin() + 90, theta.begin()));
}

TEST_P(UpdateTest, AnyThreadCountIsBitEqual) {
  std::vector<unsigned char> first;
  for (int threads : {1, 2, 3}) {
    Exec e = exec();
    e.threads = threads;
    SlabCase s(backend(), act(), SlabCase::small());
    s.theta.fill(random_values(s.n, acc(), 3));
    s.g.fill(random_values(s.n, acc(), 4));
    s.inputs.fill({0.5, 3, 0});
    s.update(e, UpdateRule::adam, {.decay = 0.1});
    if (first.empty()) first = s.theta.bytes();
    EXPECT_EQ(s.theta.bytes(), first);
  }
}

TEST_P(UpdateTest, RefusesBadShapes) {
  SlabCase s(backend(), act(), SlabCase::small());
  Update args{.rule = UpdateRule::adam,
              .theta = s.theta,
              .a = s.a,
              .g = s.g,
              .pieces = s.piece_table(),
              .scales = s.scales};
  EXPECT_THROW(update(exec(), args), Error) << "Adam has two slots";
  args.rule = UpdateRule::momentum;
  args.scales = s.scales.view.slice(0, kUpdateScales);
  EXPECT_THROW(update(exec(), args), Error) << "no factors";
  update(backend().measuring(), {});
}

#if !defined(UNROLL_GPU_ON_CPU)
// A slab of more than 2^31 entries, weights and their gradients both, of which pieces at both ends
// are listed.
TEST_P(UpdateTest, ReachesBeyondTwoToTheThirtyOne) {
  if (acc() != DType::f32) return;
  constexpr int64_t kEnd = (int64_t(1) << 31) + 3 * kPieceEntries, n = kEnd + kPieceEntries;
  const VastMemory memory(backend(), n * sizeof(float));
  const View1 slab = view_of(static_cast<float*>(memory.data()), n);
  std::vector<SlabPiece> pieces(2);
  pieces[0].count = 104;
  pieces[0].gradient = 104;
  pieces[1].offset = uint64_t(kEnd - kPieceEntries);
  pieces[1].gradient = uint64_t(kEnd);
  pieces[1].count = kPieceEntries;
  for (const SlabPiece& p : pieces)
    for (const uint64_t first : {p.offset, p.gradient})
      backend().stream().fill_zero(slab.slice(int64_t(first), p.count).data,
                                   p.count * sizeof(float));
  const float g_first = 3, g_last = 4;
  backend().stream().copy(slab.slice(2 * 104 - 1, 1).data, &g_first, sizeof(float));
  backend().stream().copy(slab.slice(n - 1, 1).data, &g_last, sizeof(float));
  const Buffer table = ParamStore::to_device(backend(), pieces);
  Array<1> scales(backend(), DType::f64, {kUpdateScales + 1}), counts(backend(), DType::f64, {2}),
      first(backend(), DType::i32, {2}), clips(backend(), DType::f64, {1}),
      inputs(backend(), DType::f64, {kUpdateInputs}), scratch(backend(), DType::f64, {2});
  counts.fill(0.0);
  first.fill({0, 2});
  clips.fill(-1.0);
  inputs.fill({1, 2, 0});
  clip(exec(), {.scales = scales,
                .counts = counts,
                .g = slab,
                .pieces = ParamStore::piece_table(table),
                .group_first = first,
                .clips = clips,
                .inputs = inputs,
                .scratch = {scratch.view.data, 2 * sizeof(double)}});
  update(exec(),
         {.theta = slab, .g = slab, .pieces = ParamStore::piece_table(table), .scales = scales});
  float theta_first = 0, theta_last = 0;
  backend().stream().copy(&theta_first, slab.slice(103, 1).data, sizeof(float));
  backend().stream().copy(&theta_last, slab.slice(kEnd - 1, 1).data, sizeof(float));
  synchronize();
  EXPECT_EQ(scales.read()[0], 25);
  EXPECT_NEAR(theta_first, -1.2, 1e-6);
  EXPECT_NEAR(theta_last, -1.6, 1e-6);
}
#endif

UNROLL_ON_TARGETS(UpdateTest);

}  // namespace
}  // namespace unroll::test
