// What the oracles of cells have in common. An oracle is written from the paper alone, one unit at
// one step, on any number type; with complex numbers its derivatives are exact to rounding (complex
// step: Squire & Trapp 1998).
#pragma once

#include <cmath>
#include <complex>

namespace unroll::oracle {

template <class T>
struct State {
  T h{}, c{};  // cells of one state leave c alone
};

// 1 / (1 + e^-x), by another road than the code under test: (1 + tanh(x/2)) / 2.
template <class T>
T logistic(T x) {
  return (T(1) + std::tanh(x / T(2))) / T(2);
}

}  // namespace unroll::oracle
