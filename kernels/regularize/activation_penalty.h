// Gradient of activation regularisation (AR) and temporal activation regularisation (TAR):
//
//   AR     ar  sum_{t,b} w_tb / D |y_tb|^2
//   TAR    tar sum_{t>0,b} w_tb / D T/(T-1) |y_tb - y_{t-1,b}|^2
//   dy_tb (+)= 2/D ( ar w_tb y_tb + tar T/(T-1) ( w_tb (y_tb - y_{t-1,b})
//                                               - w_{t+1,b} (y_{t+1,b} - y_tb) ) )
//
//   Merity, McCann & Socher 2017 ("Revisiting Activation Regularization for Language RNNs"),
//   sections 4.1 and 4.2.
//
// w is each token's share in the objective, so the terms keep their size beside the loss whatever
// its reduction. Where the loss is a mean over a full chunk, w = 1/(T B), they are ar mean(y^2) and
// tar mean((y_t - y_{t-1})^2) over all elements. Padding has w = 0 and takes no part: a pair counts
// by its later step. Differences stay inside the chunk; a chunk of one step has none.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct ActivationPenalty {
  View3 dy;      // [T,B,D]  act: f32, f64, bf16; out
  View3 y;       // [T,B,D]  act
  View1 weight;  // [T*B]    acc
  double ar = 0, tar = 0;
  Accumulate to_dy = Accumulate::overwrite;
};
void activation_penalty_backward(const Exec& exec, const ActivationPenalty& args);

namespace cpu {
void activation_penalty_backward(const Exec& exec, const ActivationPenalty& args);
}
namespace cuda {
void activation_penalty_backward(const Exec& exec, const ActivationPenalty& args);
}

}  // namespace unroll
