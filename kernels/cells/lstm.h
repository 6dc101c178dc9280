// Long short-term memory.
//
//   i = sigmoid(Wx_i + Rh_i)   f = sigmoid(Wx_f + Rh_f)
//   g = tanh(Wx_g + Rh_g)      o = sigmoid(Wx_o + Rh_o)
//   c_t = f c_tm1 + i g        h_t = o tanh(c_t)
//
// Gates in memory: i f g o (PyTorch's order). Saved: the pre-activations of i f g o.
// Hochreiter & Schmidhuber 1997; forget gate: Gers, Schmidhuber & Cummins 2000.
#pragma once

#include "kernels/cells/cell.h"

namespace unroll {

struct Lstm {
  static constexpr const char* name = "lstm";
  static constexpr int gates = 4, states = 2, saved = 4;
  static constexpr bool split = false;

  template <class T>
  GPU_HD static void forward(const T* Wx, const T* Rh, const T* s_tm1, T* s_t, T* saved) {
    for (int k = 0; k < gates; ++k) saved[k] = Wx[k] + Rh[k];
    const T i = sigmoid(saved[0]), f = sigmoid(saved[1]), g = tanh_of(saved[2]),
            o = sigmoid(saved[3]);
    s_t[1] = f * s_tm1[1] + i * g;
    s_t[0] = o * tanh_of(s_t[1]);
  }

  template <class T>
  GPU_HD static void backward(const T* saved, const T* s_tm1, const T* s_t, const T* ds_t, T* dWx,
                              T* dRh, T* ds_tm1) {
    const T i = sigmoid(saved[0]), f = sigmoid(saved[1]), g = tanh_of(saved[2]),
            o = sigmoid(saved[3]);
    const T tanh_c = tanh_of(s_t[1]);
    const T dc = ds_t[1] + ds_t[0] * o * tanh_slope(tanh_c);
    dWx[0] = dc * g * sigmoid_slope(i);
    dWx[1] = dc * s_tm1[1] * sigmoid_slope(f);
    dWx[2] = dc * i * tanh_slope(g);
    dWx[3] = ds_t[0] * tanh_c * sigmoid_slope(o);
    for (int k = 0; k < gates; ++k) dRh[k] = dWx[k];
    ds_tm1[0] = T(0);
    ds_tm1[1] = dc * f;
  }
};
static_assert(CellContract<Lstm>);

}  // namespace unroll
