// Oracle of a recurrent layer: the definition as nested loops, and its gradients by the chain rule
// from unit to unit, the unit's derivatives taken by complex step.
#pragma once

#include <vector>

#include "tests/oracle/cells.h"

namespace unroll::oracle {

// Row-major arrays with the shapes of kernels/recurrent/recurrent.h; an empty bias is left out.
template <class T>
struct Layer {
  Cell cell;
  int T_ = 0, B = 0, H = 0;
  bool reverse = false;
  std::vector<int> lengths{};              // [B], or empty
  std::vector<T> Wx{}, R{}, b_W{}, b_R{};  // [T,B,GH] [GH,H] [GH] [GH]
  std::vector<T> h{}, c{};  // [T+1,B,H]; the carried-in slot is given, the others follow
  // Noise in the loop, each [T,B,H] or empty: the share of the old state that step t keeps, and the
  // factor of what its product sees. resets [T,B] or empty: where step t starts from zero.
  std::vector<double> kept_h{}, kept_c{}, passed{};
  std::vector<int> resets{};

  int G() const { return info_of(cell).gates; }
  int step(int k) const { return reverse ? T_ - 1 - k : k; }
  size_t before(int t, int b, int u) const { return state(reverse ? t + 1 : t, b, u); }
  size_t after(int t, int b, int u) const { return state(reverse ? t : t + 1, b, u); }
  size_t state(int slot, int b, int u) const {
    return (size_t(slot) * size_t(B) + size_t(b)) * size_t(H) + size_t(u);
  }
  size_t gate(int t, int b, int g, int u) const {
    return ((size_t(t) * size_t(B) + size_t(b)) * size_t(G()) + size_t(g)) * size_t(H) + size_t(u);
  }
  bool valid(int t, int b) const { return lengths.empty() || t < lengths[size_t(b)]; }
  bool starts(int t, int b) const { return !resets.empty() && resets[size_t(t * B + b)]; }
  double factor(const std::vector<double>& of, int t, int b, int u, double without) const {
    return of.empty() ? without : of[state(t, b, u)];
  }
  State<T> state_before(int t, int b, int u) const {
    if (starts(t, b)) return {};
    return {h[before(t, b, u)], c[before(t, b, u)]};
  }

  // Pre-activations of one unit.
  void inputs(int t, int b, int u, std::vector<T>& wx, std::vector<T>& rh) const {
    wx.assign(size_t(G()), T(0));
    rh.assign(size_t(G()), T(0));
    for (int g = 0; g < G(); ++g) {
      const size_t row = size_t(g * H + u);
      wx[size_t(g)] = Wx[gate(t, b, g, u)] + (b_W.empty() ? T(0) : b_W[row]);
      T sum = b_R.empty() ? T(0) : b_R[row];
      for (int j = 0; j < H; ++j)
        sum +=
            R[row * size_t(H) + size_t(j)] * factor(passed, t, b, j, 1) * state_before(t, b, j).h;
      rh[size_t(g)] = sum;
    }
  }

  void forward() {
    std::vector<T> wx, rh;
    for (int k = 0; k < T_; ++k)
      for (int b = 0, t = step(k); b < B; ++b)
        for (int u = 0; u < H; ++u) {
          State<T> s{h[before(t, b, u)], c[before(t, b, u)]};
          if (valid(t, b)) {
            inputs(t, b, u, wx, rh);
            const State<T> old_state = state_before(t, b, u);
            s = unit<T>(cell, wx.data(), rh.data(), old_state);
            const double k_h = factor(kept_h, t, b, u, 0), k_c = factor(kept_c, t, b, u, 0);
            s.h = k_h * old_state.h + (1 - k_h) * s.h;
            s.c = k_c * old_state.c + (1 - k_c) * s.c;
          }
          h[after(t, b, u)] = s.h;
          c[after(t, b, u)] = s.c;
        }
  }
};

struct LayerGradient {
  std::vector<double> dWx, dRh;        // [T,B,GH]
  std::vector<double> dR, db_W, db_R;  // [GH,H] [GH] [GH]
};

// Gradient of sum over t of dh[t] . (state after step t), after forward().
inline LayerGradient gradient(const Layer<double>& a, const std::vector<double>& dh) {
  const size_t GH = size_t(a.G() * a.H);
  LayerGradient g;
  g.dWx.assign(a.Wx.size(), 0);
  g.dRh = g.dWx;
  g.dR.assign(a.R.size(), 0);
  g.db_W.assign(GH, 0);
  g.db_R = g.db_W;
  std::vector<State<double>> flow(
      size_t(a.B * a.H));  // gradient of the state after the current step
  std::vector<double> wx, rh;
  for (int k = a.T_ - 1; k >= 0; --k) {
    const int t = a.step(k);
    std::vector<State<double>> earlier(flow.size());
    for (int b = 0; b < a.B; ++b)
      for (int u = 0; u < a.H; ++u) {
        const size_t i = size_t(b * a.H + u);
        flow[i].h += dh[size_t(t) * flow.size() + i];
        if (!a.valid(t, b)) {
          earlier[i].h += flow[i].h;
          earlier[i].c += flow[i].c;
          continue;
        }
        a.inputs(t, b, u, wx, rh);
        const double k_h = a.factor(a.kept_h, t, b, u, 0), k_c = a.factor(a.kept_c, t, b, u, 0);
        const UnitGradient d = unit_gradient(a.cell, wx.data(), rh.data(), a.state_before(t, b, u),
                                             {(1 - k_h) * flow[i].h, (1 - k_c) * flow[i].c});
        const bool crosses = !a.starts(t, b);
        if (crosses) {
          earlier[i].h += d.dbefore.h + k_h * flow[i].h;
          earlier[i].c += d.dbefore.c + k_c * flow[i].c;
        }
        for (int n = 0; n < a.G(); ++n) {
          const size_t row = size_t(n * a.H + u);
          const double dwx = d.dwx[size_t(n)], drh = d.drh[size_t(n)];
          g.dWx[a.gate(t, b, n, u)] = dwx;
          g.dRh[a.gate(t, b, n, u)] = drh;
          g.db_W[row] += dwx;
          g.db_R[row] += drh;
          for (int j = 0; j < a.H; ++j) {
            const double m = a.factor(a.passed, t, b, j, 1);
            g.dR[row * size_t(a.H) + size_t(j)] += drh * m * a.state_before(t, b, j).h;
            if (crosses)
              earlier[size_t(b * a.H + j)].h += drh * m * a.R[row * size_t(a.H) + size_t(j)];
          }
        }
      }
    flow = earlier;
  }
  return g;
}

}  // namespace unroll::oracle
