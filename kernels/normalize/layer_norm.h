// Layer normalisation of the rows of a matrix, and its gradients.
//
//   forward    x_hat = (x - mean) rstd,   rstd = 1 / sqrt(var + eps),   y = g x_hat + b
//   backward   dx = rstd (g dy - mean(g dy) - x_hat mean(g dy x_hat))
//   gain       dg = sum over rows of dy x_hat                         in a fixed order
//   bias       db = sum over rows of dy                               column_sum
//
// Means are over the D columns of a row; var is the mean of (x - mean)^2, taken in a second pass, in
// f64 on the CPU and in f32 on CUDA.
//
// Ba, Kiros & Hinton 2016 (arXiv:1607.06450), equations 3 and 4; eps as in the authors' program.
//
// act: f32, f64 or bf16. acc: f32, or f64 for f64.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct LayerNorm {
  View2 y;        // [N,D]  acc
  View2 x;        // [N,D]  acc; may be the same as y
  View2 x_hat{};  // [N,D]  act; out; for backward; may be left out
  View1 rstd{};   // [N]    acc; out; likewise
  View1 g;        // [D]    acc
  View1 b{};      // [D]    acc; may be left out
  double eps = 1e-5;
};
void layer_norm_forward(const Exec& exec, const LayerNorm& args);

struct LayerNormBackward {
  View2 dx;     // [N,D]  act; may be the same as dy
  View2 dy;     // [N,D]  act
  View2 x_hat;  // [N,D]  act; as forward left it, as rstd
  View1 rstd;   // [N]    acc
  View1 g;      // [D]    acc
};
void layer_norm_backward(const Exec& exec, const LayerNormBackward& args);

struct LayerNormGain {
  View1 dg;     // [D]    acc
  View2 dy;     // [N,D]  act; gradient of y, before backward overwrites it
  View2 x_hat;  // [N,D]  act; as forward left it
  Accumulate to_dg = Accumulate::overwrite;
};
void layer_norm_gain_gradient(const Exec& exec, const LayerNormGain& args);

namespace cpu {
void layer_norm_forward(const Exec& exec, const LayerNorm& args);
void layer_norm_backward(const Exec& exec, const LayerNormBackward& args);
void layer_norm_gain_gradient(const Exec& exec, const LayerNormGain& args);
}  // namespace cpu
namespace cuda {
void layer_norm_forward(const Exec& exec, const LayerNorm& args);
void layer_norm_backward(const Exec& exec, const LayerNormBackward& args);
void layer_norm_gain_gradient(const Exec& exec, const LayerNormGain& args);
}  // namespace cuda

}  // namespace unroll
