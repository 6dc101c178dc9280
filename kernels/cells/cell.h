// The contract of a cell: one unit at one step, no loops over time, no memory of its own.
//
//   struct Cell {
//     static constexpr const char* name;   as in --cell
//     static constexpr int gates;          G: rows of W, R and of the biases are G blocks of H
//     static constexpr int states;         1: h      2: h and c
//     static constexpr int saved;          numbers per unit that backward needs besides the states
//     static constexpr bool split;         false: dWx and dRh are equal, and one array serves both
//     template <class T> static void forward(const T* Wx, const T* Rh, const T* s_tm1,
//                                            T* s_t, T* saved);
//     template <class T> static void backward(const T* saved, const T* s_tm1, const T* s_t,
//                                             const T* ds_t, T* dWx, T* dRh, T* ds_tm1);
//   };
//
// Wx[G] and Rh[G] are this unit's pre-activations, biases added: W x_t + b_W and R h_tm1 + b_R.
// s = {h, c}. ds_tm1[0] is only the direct path to h_tm1; the path through R is the schedule's. Of
// s_t backward reads only the last state, so that zoneout (recurrent/loop_noise.h) keeps one.
// Saved are pre-activations, and backward recomputes the gates: saved[] may be stored in bf16, whose
// 0.98 is +-0.002, a tenth of f(1 - f); the same rounding of f's pre-activation changes it by 1%.
// A cell is templated on the number type: float and double to compute, complex to check
// derivatives.
#pragma once

#include <concepts>

#include "kernels/base/host_device.h"
#include "kernels/base/math.h"

namespace unroll {

template <class C>
concept CellContract = requires(const double* in, double* out) {
  { C::name } -> std::convertible_to<const char*>;
  requires C::gates >= 1 && (C::states == 1 || C::states == 2) && C::saved >= 0;
  { C::split } -> std::convertible_to<bool>;
  C::template forward<double>(in, in, in, out, out);
  C::template backward<double>(in, in, in, in, out, out, out);
};

}  // namespace unroll
