// Gated recurrent unit, the reset gate applied after the recurrent product (PyTorch's and cuDNN's
// form).
//
//   r = sigmoid(Wx_r + Rh_r)   z = sigmoid(Wx_z + Rh_z)   n = tanh(Wx_n + r Rh_n)
//   h_t = (1 - z) n + z h_tm1
//
// Gates in memory: r z n. Saved: the pre-activations of r z n (n's holds r Rh_n), and Rh_n.
// dRh_n = r dWx_n, so dWx and dRh differ.
// Cho et al. 2014; this form: Chung et al. 2014, with the reset of Rh_n as in torch.nn.GRU.
#pragma once

#include "kernels/cells/cell.h"

namespace unroll {

struct Gru {
  static constexpr const char* name = "gru";
  static constexpr int gates = 3, states = 1, saved = 4;
  static constexpr bool split = true;

  template <class T>
  GPU_HD static void forward(const T* Wx, const T* Rh, const T* s_tm1, T* s_t, T* saved) {
    saved[0] = Wx[0] + Rh[0];
    saved[1] = Wx[1] + Rh[1];
    const T r = sigmoid(saved[0]), z = sigmoid(saved[1]);
    saved[2] = Wx[2] + r * Rh[2];
    saved[3] = Rh[2];
    const T n = tanh_of(saved[2]);
    s_t[0] = (T(1) - z) * n + z * s_tm1[0];
  }

  template <class T>
  GPU_HD static void backward(const T* saved, const T* s_tm1, const T*, const T* ds_t, T* dWx,
                              T* dRh, T* ds_tm1) {
    const T r = sigmoid(saved[0]), z = sigmoid(saved[1]), n = tanh_of(saved[2]), Rh_n = saved[3];
    const T dn = ds_t[0] * (T(1) - z) * tanh_slope(n);
    dWx[0] = dn * Rh_n * sigmoid_slope(r);
    dWx[1] = ds_t[0] * (s_tm1[0] - n) * sigmoid_slope(z);
    dWx[2] = dn;
    dRh[0] = dWx[0];
    dRh[1] = dWx[1];
    dRh[2] = dn * r;
    ds_tm1[0] = ds_t[0] * z;
  }
};
static_assert(CellContract<Gru>);

}  // namespace unroll
