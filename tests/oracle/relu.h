// Oracle of the rectified cell. Le, Jaitly & Hinton, "A simple way to initialize recurrent networks
// of rectified linear units", 2015, section 3.
//
//   h_t = max(0, W x_t + b_W + R h_tm1 + b_R)
#pragma once

#include "tests/oracle/state.h"

namespace unroll::oracle {

template <class T>
State<T> relu(const T* wx, const T* rh, const State<T>& before) {
  const T a = wx[0] + rh[0];
  return {std::real(a) > 0 ? a : T(0), before.c};
}

}  // namespace unroll::oracle
