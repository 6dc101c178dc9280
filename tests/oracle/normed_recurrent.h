// Oracle of a recurrent layer with layer normalisation. Ba, Kiros & Hinton 2016 (arXiv:1607.06450),
// supplementary material, on the layer of recurrent.h; the input term Wx is given normalised.
//
//   LN(z; g, b) = (z - mu) / sigma * g + b,   mu = sum z / D,   sigma^2 = sum (z - mu)^2 / D + eps
//
//   LSTM   (f, i, o, g) = Wx + LN(R h_tm1),   h = sigm(o) tanh(LN(sigm(f) c_tm1 + sigm(i) tanh(g)))
//   GRU    (z, r) = Wx + LN(R h_tm1),   n = tanh(Wx + sigm(r) LN(U h_tm1)):   U apart from R
#pragma once

#include "tests/oracle/recurrent.h"

namespace unroll::oracle {

template <class T>
struct NormedLayer : Layer<T> {
  std::vector<T> g_R{}, g_c{}, b_c{};  // [GH] [H] [H]
  double eps = 1e-5;

  // z of `count` entries from `first` on.
  void normalise(std::vector<T>& z, int first, int count) const {
    T sum = 0, squares = 0;
    for (int i = first; i < first + count; ++i) sum += z[size_t(i)];
    const T mu = sum / double(count);
    for (int i = first; i < first + count; ++i) {
      z[size_t(i)] -= mu;
      squares += z[size_t(i)] * z[size_t(i)];
    }
    for (int i = first; i < first + count; ++i)
      z[size_t(i)] /= std::sqrt(squares / double(count) + eps);
  }

  // LN(R h_tm1) of all gates of a lane.
  std::vector<T> normed_product(int t, int b) const {
    const int H = this->H, G = this->G();
    std::vector<T> z(size_t(G * H), T(0));
    for (int row = 0; row < G * H; ++row)
      for (int j = 0; j < H; ++j)
        z[size_t(row)] += this->R[size_t(row * H + j)] * this->factor(this->passed, t, b, j, 1) *
                          this->state_before(t, b, j).h;
    if (this->cell == Cell::gru) {
      normalise(z, 0, 2 * H);
      normalise(z, 2 * H, H);
    } else {
      normalise(z, 0, G * H);
    }
    for (size_t row = 0; row < z.size(); ++row)
      z[row] = z[row] * g_R[row] + (this->b_R.empty() ? T(0) : this->b_R[row]);
    return z;
  }

  void step(int t, int b) {
    const int H = this->H, G = this->G();
    const std::vector<T> N = normed_product(t, b);
    std::vector<State<T>> s(static_cast<size_t>(H));
    std::vector<T> wx(static_cast<size_t>(G)), rh = wx, c(static_cast<size_t>(H)), o = c;
    for (int u = 0; u < H; ++u) {
      for (int g = 0; g < G; ++g) {
        const size_t row = size_t(g * H + u);
        wx[size_t(g)] =
            this->Wx[this->gate(t, b, g, u)] + (this->b_W.empty() ? T(0) : this->b_W[row]);
        rh[size_t(g)] = N[row];
      }
      s[size_t(u)] = unit<T>(this->cell, wx.data(), rh.data(), this->state_before(t, b, u));
      c[size_t(u)] = s[size_t(u)].c;
      if (this->cell == Cell::lstm) o[size_t(u)] = logistic(wx[3] + rh[3]);
    }
    if (this->cell == Cell::lstm) {
      normalise(c, 0, H);
      for (size_t u = 0; u < c.size(); ++u) s[u].h = o[u] * std::tanh(c[u] * g_c[u] + b_c[u]);
    }
    for (int u = 0; u < H; ++u) {
      const State<T> old_state = this->state_before(t, b, u);
      const double k_h = this->factor(this->kept_h, t, b, u, 0),
                   k_c = this->factor(this->kept_c, t, b, u, 0);
      this->h[this->after(t, b, u)] = k_h * old_state.h + (1 - k_h) * s[size_t(u)].h;
      this->c[this->after(t, b, u)] = k_c * old_state.c + (1 - k_c) * s[size_t(u)].c;
    }
  }

  void forward() {
    for (int k = 0; k < this->T_; ++k)
      for (int b = 0, t = this->Layer<T>::step(k); b < this->B; ++b)
        if (this->valid(t, b))
          step(t, b);
        else
          for (int u = 0; u < this->H; ++u) {
            this->h[this->after(t, b, u)] = this->h[this->before(t, b, u)];
            this->c[this->after(t, b, u)] = this->c[this->before(t, b, u)];
          }
  }
};

}  // namespace unroll::oracle
