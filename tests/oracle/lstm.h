// Oracle of the LSTM without peepholes. Hochreiter & Schmidhuber, Neural Computation 9, 1997;
// forget gate of Gers, Schmidhuber & Cummins, Neural Computation 12, 2000; in the form of Zaremba,
// Sutskever & Vinyals 2014, section 3, with their j called g.
//
//   (i, f, g, o) = (sigm, sigm, tanh, sigm)(W x_t + b_W + R h_tm1 + b_R)
//   c_t = f c_tm1 + i g
//   h_t = o tanh(c_t)
#pragma once

#include "tests/oracle/state.h"

namespace unroll::oracle {

template <class T>
State<T> lstm(const T* wx, const T* rh, const State<T>& before) {
  enum { kInput, kForget, kCandidate, kOutput };
  const T input_gate = logistic(wx[kInput] + rh[kInput]);
  const T forget_gate = logistic(wx[kForget] + rh[kForget]);
  const T candidate = std::tanh(wx[kCandidate] + rh[kCandidate]);
  const T output_gate = logistic(wx[kOutput] + rh[kOutput]);
  State<T> after;
  after.c = forget_gate * before.c + input_gate * candidate;
  after.h = output_gate * std::tanh(after.c);
  return after;
}

}  // namespace unroll::oracle
