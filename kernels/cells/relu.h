// Simple recurrent unit.
//
//   h_t = max(Wx + Rh, 0)
//
// Saved: nothing; the derivative follows from h_t. Le, Jaitly & Hinton 2015.
#pragma once

#include "kernels/cells/cell.h"

namespace unroll {

struct Relu {
  static constexpr const char* name = "relu";
  static constexpr int gates = 1, states = 1, saved = 0;
  static constexpr bool split = false;

  template <class T>
  GPU_HD static void forward(const T* Wx, const T* Rh, const T*, T* s_t, T*) {
    s_t[0] = relu(Wx[0] + Rh[0]);
  }

  template <class T>
  GPU_HD static void backward(const T*, const T*, const T* s_t, const T* ds_t, T* dWx, T* dRh,
                              T* ds_tm1) {
    dWx[0] = ds_t[0] * (is_positive(s_t[0]) ? T(1) : T(0));
    dRh[0] = dWx[0];
    ds_tm1[0] = T(0);
  }
};
static_assert(CellContract<Relu>);

}  // namespace unroll
