// Simple recurrent unit.
//
//   h_t = tanh(Wx + Rh)
//
// Saved: nothing; the derivative follows from h_t. Elman 1990.
#pragma once

#include "kernels/cells/cell.h"

namespace unroll {

struct Tanh {
  static constexpr const char* name = "tanh";
  static constexpr int gates = 1, states = 1, saved = 0;
  static constexpr bool split = false;

  template <class T>
  GPU_HD static void forward(const T* Wx, const T* Rh, const T*, T* s_t, T*) {
    s_t[0] = tanh_of(Wx[0] + Rh[0]);
  }

  template <class T>
  GPU_HD static void backward(const T*, const T*, const T* s_t, const T* ds_t, T* dWx, T* dRh,
                              T* ds_tm1) {
    dWx[0] = ds_t[0] * tanh_slope(s_t[0]);
    dRh[0] = dWx[0];
    ds_tm1[0] = T(0);
  }
};
static_assert(CellContract<Tanh>);

}  // namespace unroll
