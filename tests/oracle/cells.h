// The oracle of each cell by its identifier, and its derivatives by complex step.
#pragma once

#include <vector>

#include "kernels/cells/cells.h"
#include "tests/oracle/gru.h"
#include "tests/oracle/lstm.h"
#include "tests/oracle/relu.h"
#include "tests/oracle/tanh.h"

namespace unroll::oracle {

constexpr Cell kAllCells[] = {
#define UNROLL_CELL(id, Type) Cell::id,
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
};

// wx[G] = W x_t + b_W and rh[G] = R h_tm1 + b_R of one unit.
template <class T>
State<T> unit(Cell cell, const T* wx, const T* rh, const State<T>& before) {
  switch (cell) {
#define UNROLL_CELL(id, Type) \
  case Cell::id:              \
    return oracle::id(wx, rh, before);
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
  }
  return {};
}

// Gradients of dh h_t + dc c_t for one unit.
struct UnitGradient {
  std::vector<double> dwx, drh;  // [G]
  State<double> dbefore;
};
inline UnitGradient unit_gradient(Cell cell, const double* wx, const double* rh,
                                  const State<double>& before, const State<double>& dafter) {
  using Z = std::complex<double>;
  constexpr double kStep = 1e-100;
  const int G = info_of(cell).gates;
  std::vector<Z> x(wx, wx + G), r(rh, rh + G);
  State<Z> s{before.h, before.c};
  const auto derivative = [&](Z& input) {
    input += Z(0, kStep);
    const State<Z> after = unit<Z>(cell, x.data(), r.data(), s);
    input -= Z(0, kStep);
    return (dafter.h * after.h.imag() + dafter.c * after.c.imag()) / kStep;
  };
  UnitGradient g;
  for (Z& input : x) g.dwx.push_back(derivative(input));
  for (Z& input : r) g.drh.push_back(derivative(input));
  g.dbefore.h = derivative(s.h);
  g.dbefore.c = info_of(cell).states == 2 ? derivative(s.c) : 0;
  return g;
}

}  // namespace unroll::oracle
