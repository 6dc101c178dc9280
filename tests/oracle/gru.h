// Oracle of the gated recurrent unit with the reset gate behind the recurrent product. Cho et al.
// 2014, equations 5 to 8, in the variant that torch.nn.GRU documents.
//
//   r = sigm(W_r x + b_Wr + R_r h + b_Rr)    z = sigm(W_z x + b_Wz + R_z h + b_Rz)
//   n = tanh(W_n x + b_Wn + r (R_n h + b_Rn))
//   h_t = (1 - z) n + z h_tm1
#pragma once

#include "tests/oracle/state.h"

namespace unroll::oracle {

template <class T>
State<T> gru(const T* wx, const T* rh, const State<T>& before) {
  enum { kReset, kUpdate, kNew };
  const T reset = logistic(wx[kReset] + rh[kReset]);
  const T update = logistic(wx[kUpdate] + rh[kUpdate]);
  const T fresh = std::tanh(wx[kNew] + reset * rh[kNew]);
  return {fresh + update * (before.h - fresh), before.c};
}

}  // namespace unroll::oracle
