// Weight drop (DropConnect) of a recurrent matrix: R' = M R / (1 - p), dR = M dR' / (1 - p), with
// one Bernoulli(1 - p) bit per element that holds for all lanes and all steps of a chunk.
//
//   Wan et al. 2013, equation 1; Merity, Keskar & Socher 2018 ("Regularizing and Optimizing LSTM
//   Language Models"), section 2.
//
// The forward pass draws the bits by Philox (kernels/base/philox.h) and stores them, so that the
// backward pass reads 1/32 of a word per element; CPU and GPU draw the same. Element (r,c) is kept
// if word c mod 4 of block r ceil(D/4) + c/4 is >= dropout_threshold(p), and is bit c mod 32 of
// word c/32 of its row. R itself is read in acc and never written. Who masks R by the bits as it
// reads it needs no copy (kernels/recurrent/weight_mask.h), and leaves out y.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/mask_key.h"
#include "kernels/base/view.h"

namespace unroll {

struct WeightDrop {
  View2 y{};   // [N,D]           act: f32, f64, bf16; out: the masked, scaled copy; may be left out
  View2 bits;  // [N,ceil(D/32)]  u32; out: 1 keeps the element, bits past D are 0
  View2 x;     // [N,D]           acc; read only where y is given
  double p = 0;  // 0 <= p < 1
  MaskKey key;
};
void weight_drop_forward(const Exec& exec, const WeightDrop& args);

struct WeightDropBackward {
  View2 dx;      // [N,D]           acc; may be the same as dy where it is overwritten
  View2 dy;      // [N,D]           acc
  View2 bits;    // [N,ceil(D/32)]  u32; as forward left them
  double p = 0;  // as in forward
  Accumulate to_dx = Accumulate::overwrite;
};
void weight_drop_backward(const Exec& exec, const WeightDropBackward& args);

// Words of a row of bits.
constexpr int64_t weight_drop_words(int64_t D) { return (D + 31) / 32; }

namespace cpu {
void weight_drop_forward(const Exec& exec, const WeightDrop& args);
void weight_drop_backward(const Exec& exec, const WeightDropBackward& args);
}  // namespace cpu
namespace cuda {
void weight_drop_forward(const Exec& exec, const WeightDrop& args);
void weight_drop_backward(const Exec& exec, const WeightDropBackward& args);
}  // namespace cuda

}  // namespace unroll
