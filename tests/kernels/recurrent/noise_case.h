// Resets, zoneout and recurrent dropout for a layer and its oracle, drawn as loop_noise.h says.
#pragma once

#include "kernels/base/philox.h"
#include "tests/kernels/recurrent/recurrent_case.h"

namespace unroll::test {

struct NoiseCase {
  RecurrentCase layer;
  double zoneout_h, zoneout_c, dropout;
  bool locked, mean, resets;

  static constexpr uint64_t kSeed = 77, kMaskStep = 1000003;
  static constexpr uint32_t kOp = 5;

  // A cell without c has no zoneout of it.
  StateNoise noise(Cell cell) const {
    return {.zoneout_h = zoneout_h,
            .zoneout_c = info_of(cell).states == 2 ? zoneout_c : 0,
            .dropout = dropout,
            .locked = locked,
            .mean = mean};
  }
};

inline std::ostream& operator<<(std::ostream& out, const NoiseCase& n) {
  return out << n.layer << " zoneout " << n.zoneout_h << " " << n.zoneout_c << " dropout "
             << n.dropout << (n.locked ? " locked" : "") << (n.mean ? " mean" : "")
             << (n.resets ? " resets" : "");
}

// Each kind by itself and all together, in both directions, with lengths; one wide and long enough
// for packed weights.
constexpr NoiseCase kNoiseCases[] = {
    {{5, 3, 13, false, true, true, true, 3}, 0.3, 0.5, 0, false, false, false},
    {{4, 2, 7, true, false, false, true, 0}, 0.3, 0.5, 0.4, false, true, true},
    {{4, 8, 17, false, true, true, true, 8}, 0, 0, 0.4, false, false, true},
    {{5, 3, 9, true, true, true, false, 1}, 0.4, 0, 0.4, false, false, true},
    {{5, 4, 21, false, true, true, true, 0}, 0.2, 0.4, 0.3, true, false, true},
};

// A random layer with the factors that the noise comes to.
inline oracle::Layer<double> noisy_layer(Cell cell, const NoiseCase& n, const Target& target) {
  oracle::Layer<double> a = random_layer(cell, n.layer, target);
  const StateNoise noise = n.noise(cell);
  for (int t = 0; t < a.T_; ++t)
    for (int b = 0; b < a.B; ++b) {
      a.resets.push_back(n.resets && (3 * t + b) % 4 == 0);
      for (int u = 0; u < a.H; ++u) {
        const auto below = [&](size_t element, int word, double rate) {
          const Philox4 block =
              philox_block(NoiseCase::kSeed, NoiseCase::kMaskStep, NoiseCase::kOp, element);
          return double(block.v[word]) < std::round(rate * 4294967296.0);
        };
        const size_t written = a.after(t, b, u),
                     read = n.locked ? a.state(0, b, u) : a.before(t, b, u);
        a.kept_h.push_back(n.mean ? noise.zoneout_h : below(written, 0, noise.zoneout_h));
        a.kept_c.push_back(n.mean ? noise.zoneout_c : below(written, 1, noise.zoneout_c));
        a.passed.push_back(n.mean                          ? 1
                           : below(read, 2, noise.dropout) ? 0
                                                           : 1 / (1 - noise.dropout));
      }
    }
  return a;
}

// The arrays that noise adds.
struct NoisyArrays : RecurrentArrays {
  const NoiseCase& n;
  Array<2> resets;
  Array<1> counter;
  Array<3> h_in, fresh;

  NoisyArrays(const Backend& backend, const oracle::Layer<double>& a, const NoiseCase& n,
              const Target& t, Schedule schedule = Schedule::automatic)
      : RecurrentArrays(backend, a, t, n.layer.pad, schedule),
        n(n),
        resets(backend, DType::i32, {T, B}, n.layer.pad),
        counter(backend, DType::u64, {2}),
        h_in(backend, t.act, {T, B, H}, n.layer.pad),
        fresh(backend, t.acc(), {T, B, H}, n.layer.pad) {
    resets.fill(std::vector<double>(a.resets.begin(), a.resets.end()));
    counter.fill({double(NoiseCase::kSeed), double(NoiseCase::kMaskStep)});
  }
  StateNoise noise() const {
    StateNoise noise = n.noise(layer.cell);
    if (noise.draws()) noise.key = {counter.view, NoiseCase::kOp};
    if (n.resets) noise.resets = resets;
    return noise;
  }
  RecurrentForward forward_args(bool save = true) {
    RecurrentForward f = RecurrentArrays::forward_args(save);
    f.noise = noise();
    if (f.noise.masks_h()) f.h_in = h_in;
    if (save && needs_fresh(layer.cell, f.noise)) f.fresh = fresh;
    return f;
  }
  RecurrentBackward backward_args() {
    RecurrentBackward b = RecurrentArrays::backward_args();
    b.noise = noise();
    if (needs_fresh(layer.cell, b.noise)) b.fresh = fresh;
    return b;
  }
  RecurrentWeightGradients weight_args(Accumulate mode) {
    RecurrentWeightGradients w = RecurrentArrays::weight_args(mode);
    if (noise().masks_h()) w.h_in = h_in;
    return w;
  }
};

}  // namespace unroll::test
