// A recurrent layer in every pair of a width, a number of lanes and a number of steps, those of
// published models and their neighbours: all that its ops leave, in every cell and schedule.
#include <map>
#include <thread>

#include "kernels/base/dispatch.h"
#include "kernels/recurrent/persistent_cuda.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {
namespace {

constexpr int kWidths[] = {1, 7, 8, 33, 127, 128, 129, 650, 1150, 1500};
constexpr int kLanes[] = {1, 3, 8, 9, 20, 64, 65};
constexpr int kSteps[] = {1, 2, 3, 70, 513};

// Every width and every number of lanes meets every number of steps; the wider a layer, the fewer
// lanes it has in its long chunks.
constexpr int steps_of(size_t width, size_t lanes) {
  constexpr int kTurns[] = {513, 70, 3, 2, 1, 2, 3};
  return kTurns[(width + lanes + 5) % std::size(kTurns)];
}
constexpr bool every_pair_occurs() {
  bool all = true;
  for (const int T : kSteps) {
    for (size_t h = 0; h < std::size(kWidths); ++h) {
      bool found = false;
      for (size_t b = 0; b < std::size(kLanes); ++b) found |= steps_of(h, b) == T;
      all &= found;
    }
    for (size_t b = 0; b < std::size(kLanes); ++b) {
      bool found = false;
      for (size_t h = 0; h < std::size(kWidths); ++h) found |= steps_of(h, b) == T;
      all &= found;
    }
  }
  return all;
}
static_assert(every_pair_occurs());

// What a CPU computes quickly, also as the oracle does and in the place of a GPU.
bool is_small(const RecurrentCase& c) {
  return c.T <= 70 && int64_t(c.T) * c.B * c.H * c.H <= 50'000;
}

struct Sized {
  Target target;
  RecurrentCase layer;
};
std::vector<Sized> all_sizes() {
  std::vector<Sized> all;
  for (const Target& target : targets_of_products())
    for (size_t h = 0; h < std::size(kWidths); ++h)
      for (size_t b = 0; b < std::size(kLanes); ++b) {
        const RecurrentCase c = {.T = steps_of(h, b),
                                 .B = kLanes[b],
                                 .H = kWidths[h],
                                 .reverse = (h + b) % 2 == 1,
                                 .with_lengths = b % 3 == 1,
                                 .with_b_W = true,
                                 .with_b_R = h % 3 != 0,
                                 .pad = b % 2 ? 3 : 0};
#if !defined(UNROLL_GPU_ON_CPU)
        if (target.device == DeviceKind::cuda || is_small(c)) all.push_back({target, c});
#else
        if (is_small(c)) all.push_back({target, c});
#endif
      }
  return all;
}

using Tensors = std::map<std::string, std::vector<double>>;

// The slots that a pass has written.
std::vector<double> without_carried_in(std::vector<double> states, const RecurrentCase& c) {
  const auto slot = states.begin() + (c.reverse ? int64_t(c.T) * c.B * c.H : 0);
  states.erase(slot, slot + int64_t(c.B) * c.H);
  return states;
}

Tensors of_device(const Backend& backend, const Target& target, const RecurrentCase& c,
                  Schedule schedule, const oracle::Layer<double>& layer,
                  const std::vector<double>& dh) {
  RecurrentArrays a(backend, layer, target, c.pad, schedule);
  a.dh.fill(dh);
  recurrent_forward(backend.exec(), a.forward_args());
  recurrent_backward(backend.exec(), a.backward_args());
  recurrent_weight_gradients(backend.exec(), a.weight_args(Accumulate::overwrite));
  backend.stream().synchronize();
  Tensors all = {{"h", without_carried_in(a.h.read(), c)},
                 {"dWx", a.dWx.read()},
                 {"dR", a.dR.read()},
                 {"db_W", a.db_W.read()}};
  if (a.two_states) all["c"] = without_carried_in(a.c.read(), c);
  if (a.split) all["dRh"] = a.dRh.read();
  if (c.with_b_R) all["db_R"] = a.db_R.read();
  return all;
}

Tensors of_oracle(const RecurrentCase& c, oracle::Layer<double> layer,
                  const std::vector<double>& dh) {
  layer.forward();
  const oracle::LayerGradient g = oracle::gradient(layer, dh);
  return {{"h", without_carried_in(layer.h, c)},
          {"c", without_carried_in(layer.c, c)},
          {"dWx", g.dWx},
          {"dRh", g.dRh},
          {"dR", g.dR},
          {"db_W", g.db_W},
          {"db_R", g.db_R}};
}

// The norm of what a weight's gradient is the sum of; |h| stands for each of its units.
double terms_norm(const std::string& name, const Tensors& all) {
  const auto dRh = all.find("dRh");
  const double of_R = norm_of(dRh == all.end() ? all.at("dWx") : dRh->second);
  if (name == "db_W") return norm_of(all.at("dWx"));
  if (name == "db_R") return of_R;
  if (name != "dR") return 0;
  double h = 0;
  for (const double v : all.at("h")) h = std::max(h, std::abs(v));
  return h * of_R;
}

class SizesTest : public testing::TestWithParam<Sized> {
 protected:
  void SetUp() override { skip_without_device(target()); }
  const Target& target() const { return GetParam().target; }
  // In f32 the largest matrices do not fit the chip; in bf16 all of them do.
  bool fits(const Exec& exec, Cell cell, Schedule schedule) const {
    const RecurrentCase& c = GetParam().layer;
    if constexpr (kBuiltWithCuda)
      if (schedule == Schedule::persistent && target().act == DType::f32 && c.H > 1000)
        return cuda::persistent_obstacle(exec, cell, target().act, c.B, c.H).empty();
    return true;
  }
  void expect_near(const Tensors& got, const Tensors& expected, const Tensors& alternating) const;
};

// Norms of errors within their limits, and single elements. Over many steps rounding grows as the
// layer makes it grow, whatever the schedule: there an element may be half as far off again as the
// alternating one has it, and a gradient may be no further off, but for one rounding of an operand.
void SizesTest::expect_near(const Tensors& all, const Tensors& expected,
                            const Tensors& alternating) const {
  const NormLimits limit = norm_limits(target());
  const int T = GetParam().layer.T;
  for (const auto& [name, got] : all) {
    const std::vector<double>&exact = expected.at(name), &other = alternating.at(name);
    const double terms = terms_norm(name, expected), e = norm_error(got, exact, terms);
    EXPECT_LT(e, limit.norm) << name;
    if (T >= 513 && name[0] == 'd') {
      EXPECT_LE(e, std::max(1.5 * norm_error(other, exact, terms), limit.rounding)) << name;
    }
    const double term = terms / std::sqrt(double(exact.size()));
    EXPECT_LE(relative_error(got, exact, term),
              std::max(tolerance(target()), T < 70 ? 0 : 1.5 * relative_error(other, exact, term)))
        << name;
  }
}

TEST_P(SizesTest, EveryTensorIsNearItsReference) {
  const RecurrentCase& c = GetParam().layer;
  const Backend backend(target().device == DeviceKind::cpu ? Device::cpu(1) : Device::cuda(),
                        target().matmul);
  const Backend cpu(
      Device::cpu(is_small(c) ? 1 : int(std::max(1u, std::thread::hardware_concurrency()))));
  for (const Cell cell : oracle::kAllCells) {
    oracle::Layer<double> layer = random_layer(cell, c, target());
    // A unit alone drives itself towards 1, where the rounding of h is most of what its slope has.
    if (c.H == 1)
      for (double& r : layer.R) r /= 4;
    const auto dh = random_values(int64_t(c.T) * c.B * c.H, target().act, 9);
    const Tensors expected =
        target().act == DType::f64
            ? of_oracle(c, layer, dh)
            : of_device(cpu, {DeviceKind::cpu, DType::f64}, c, Schedule::automatic, layer, dh);
    Tensors alternating;
    for (const Schedule schedule : schedules(target())) {
      if (!fits(backend.exec(), cell, schedule)) continue;
      SCOPED_TRACE(testing::Message()
                   << info_of(cell).name << " " << name_of(schedule) << " " << c);
      const Tensors got = of_device(backend, target(), c, schedule, layer, dh);
      if (alternating.empty()) alternating = got;  // the first of a GPU's
      expect_near(got, expected, alternating);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, SizesTest, testing::ValuesIn(all_sizes()), [](const auto& info) {
  const RecurrentCase& c = info.param.layer;
  return name_of(info.param.target) + "_H" + std::to_string(c.H) + "_B" + std::to_string(c.B) +
         "_T" + std::to_string(c.T);
});

}  // namespace
}  // namespace unroll::test
