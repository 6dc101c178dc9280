// A layer with layer normalisation: cases, inputs, buffers and calls.
#pragma once

#include "kernels/elementwise/bias_act.h"
#include "kernels/normalize/layer_norm.h"
#include "tests/kernels/recurrent/noise_case.h"
#include "tests/oracle/normed_recurrent.h"

namespace unroll::test {

// One unit, less than a warp of them, more than one, several warps; each kind of noise; packed
// weights on the CPU.
constexpr NoiseCase kNormCases[] = {
    {{3, 2, 1, false, false, true, true, 0}, 0, 0, 0, false, false, false},
    {{4, 3, 7, true, true, true, false, 3}, 0.3, 0.5, 0.4, false, false, true},
    {{4, 8, 33, false, true, false, true, 1}, 0, 0, 0.3, true, false, true},
    {{3, 2, 129, false, false, true, true, 0}, 0, 0, 0, false, false, false},
    {{3, 2, 33, true, true, true, true, 7}, 0.2, 0.3, 0, false, true, false},
};

inline oracle::NormedLayer<double> normed_layer(Cell cell, const NoiseCase& n,
                                                const Target& target) {
  oracle::NormedLayer<double> a{noisy_layer(cell, n, target)};
  // With small gains the rectifier's inputs stay away from its kink, as random_layer arranges it.
  const bool kinked = cell == Cell::relu;
  const auto gains = [&](int64_t count, unsigned seed) {
    std::vector<double> g = random_values(count, target.acc(), seed, 0.5);
    for (double& x : g) x = rounded(kinked ? 0.1 * x : 1 + x, target.acc());
    return g;
  };
  a.g_R = gains(int64_t(a.G()) * a.H, 11);
  a.g_c = gains(a.H, 12);
  a.b_c = random_values(a.H, target.acc(), 13, 0.5);
  return a;
}

struct NormedArrays : NoisyArrays {
  Array<3> Rh_hat, Rh_rstd, c_hat, dN, dn_c;
  Array<2> c_rstd;
  Array<1> g_R, g_c, b_c, dg_R, dg_c, db_c, large_scratch;

  NormedArrays(const Backend& backend, const oracle::NormedLayer<double>& a, const NoiseCase& n,
               const Target& t, Schedule schedule = Schedule::automatic)
      : NoisyArrays(backend, a, n, t, schedule),
        Rh_hat(backend, t.act, {T, B, GH}, n.layer.pad),
        Rh_rstd(backend, t.acc(), {T, norm_groups(a.cell), B}, n.layer.pad),
        c_hat(backend, t.act, {T, B, H}, n.layer.pad),
        dN(backend, t.act, {T, B, GH}, n.layer.pad),
        dn_c(backend, t.act, {T, B, H}, n.layer.pad),
        c_rstd(backend, t.acc(), {T, B}, n.layer.pad),
        g_R(backend, t.acc(), {GH}),
        g_c(backend, t.acc(), {H}),
        b_c(backend, t.acc(), {H}),
        dg_R(backend, t.acc(), {GH}),
        dg_c(backend, t.acc(), {H}),
        db_c(backend, t.acc(), {H}),
        large_scratch(backend, DType::u8,
                      {int64_t(recurrent_scratch_bytes(backend.exec(), a.cell, t.act, int(T),
                                                       int(B), int(H), true))}) {
    g_R.fill(a.g_R);
    g_c.fill(a.g_c);
    b_c.fill(a.b_c);
  }
  LoopNorm norm(bool keep = true) {
    LoopNorm norm{.g_R = g_R};
    if (two_states) norm.g_c = g_c, norm.b_c = b_c;
    if (!keep) return norm;
    norm.Rh_hat = Rh_hat;
    norm.Rh_rstd = Rh_rstd;
    if (two_states) norm.c_hat = c_hat, norm.c_rstd = c_rstd;
    return norm;
  }
  Scratch poisoned_scratch() {
    large_scratch.fill(255.0);
    return {large_scratch.view.data, size_t(large_scratch.view.n[0])};
  }
  RecurrentForward forward_args(bool keep = true) {
    RecurrentForward f = NoisyArrays::forward_args(keep);
    f.norm = norm(keep);
    if (two_states) f.fresh = {};
    f.scratch = poisoned_scratch();
    return f;
  }
  RecurrentBackward backward_args() {
    RecurrentBackward b = NoisyArrays::backward_args();
    b.norm = norm();
    b.dRh = dRh;
    if (split) b.dN = dN;
    if (two_states) b.dn_c = dn_c, b.fresh = {};
    b.scratch = poisoned_scratch();
    return b;
  }
  // Both passes and all gradients of weights.
  void run(const Exec& exec) {
    recurrent_forward(exec, forward_args());
    recurrent_backward(exec, backward_args());
    RecurrentWeightGradients w = NoisyArrays::weight_args(Accumulate::overwrite);
    w.dRh = dRh;
    w.db_R = {};
    recurrent_weight_gradients(exec, w);
    const View2 of_N = (split ? dN : dWx).view.matrix();
    if (!layer.b_R.empty()) column_sum(exec, {.sum = db_R, .x = of_N});
    layer_norm_gain_gradient(exec, {.dg = dg_R, .dy = of_N, .x_hat = Rh_hat.view.matrix()});
    if (two_states) {
      layer_norm_gain_gradient(
          exec, {.dg = dg_c, .dy = dn_c.view.matrix(), .x_hat = c_hat.view.matrix()});
      column_sum(exec, {.sum = db_c, .x = dn_c.view.matrix()});
    }
    backend.stream().synchronize();
  }
  // Name and values of all that run() leaves to its caller.
  std::vector<std::pair<std::string, std::vector<double>>> results() {
    std::vector<std::pair<std::string, std::vector<double>>> all = {{"h", h.read()},
                                                                    {"dWx", dWx.read()},
                                                                    {"dRh", dRh.read()},
                                                                    {"dR", dR.read()},
                                                                    {"dg_R", dg_R.read()}};
    if (!layer.b_W.empty()) all.push_back({"db_W", db_W.read()});
    if (!layer.b_R.empty()) all.push_back({"db_R", db_R.read()});
    if (two_states) {
      all.push_back({"c", c.read()});
      all.push_back({"dg_c", dg_c.read()});
      all.push_back({"db_c", db_c.read()});
    }
    return all;
  }
};

}  // namespace unroll::test
