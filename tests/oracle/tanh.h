// Oracle of the tanh cell. Elman, "Finding structure in time", Cognitive Science 14, 1990.
//
//   h_t = tanh(a),   a = W x_t + b_W + R h_tm1 + b_R
#pragma once

#include "tests/oracle/state.h"

namespace unroll::oracle {

template <class T>
State<T> tanh(const T* wx, const T* rh, const State<T>& before) {
  return {std::tanh(wx[0] + rh[0]), before.c};
}

}  // namespace unroll::oracle
