// Adversarial softmax: in training, the target's row of the output matrix is moved within a ball to
// where the target is least likely, so that words are told apart by a margin.
//
//   w_y' = w_y - eps |w_y| x / |x|                            where w_y x > 0, else w_y
//   z_y' = z_y - s        s = eps |w_y| |x|                   the other logits stay
//   p'   = p e^-s / q     q = 1 - p + p e^-s
//   loss'= loss + s + log q                                   nats
//
//   Wang, Gong & Liu 2019 ("Improving Neural Language Modeling via Adversarial Training"), theorem
//   2 and algorithm 1.
//
// The move is held constant, as the authors' program has it: d z_y' / dw_y = x, d z_y' / dx = w_y'.
// Every gradient of the plain softmax is then multiplied by 1 / q,
//
//   dz = dloss (softmax' - onehot_y) = (dloss / q) (softmax - onehot_y)
//
// which linear_softmax_xent does with LinearSoftmaxXent::shift, and what is left is the share of
// the move itself in dx. In a mixture of softmaxes x are the latent vectors, and each expert's
// target is moved on its own: p' takes the place of p in the mixture.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

// s of every row: 0 where the target is negative.
struct AdversarialShift {
  View1 shift;     // [N]    acc; out
  View2 x;         // [N,D]  act: f32, f64, bf16
  View2 W;         // [V,D]  act
  View1 target;    // [N]    i32
  double eps = 0;  // radius of the ball, as a share of |w_y|; 0 or more
};
void adversarial_shift(const Exec& exec, const AdversarialShift& args);

// loss' from the loss of every row.
struct AdversarialLoss {
  View1 loss;   // [N]  acc; out; may be the same as nll
  View1 nll;    // [N]  acc
  View1 shift;  // [N]  acc
};
void adversarial_loss(const Exec& exec, const AdversarialLoss& args);

// The share of the move in the gradient, dz_y (w_y' - w_y):
//
//   dx += dloss (1 - p') (s / |x|) x / |x|
struct AdversarialDx {
  View2 dx;     // [N,D]  act; in and out
  View2 x;      // [N,D]  act
  View1 nll;    // [N]    acc; without the move
  View1 shift;  // [N]    acc
  View1 dloss;  // [N]    acc; weight of each token
};
void adversarial_dx(const Exec& exec, const AdversarialDx& args);

namespace cpu {
void adversarial_shift(const Exec& exec, const AdversarialShift& args);
void adversarial_loss(const Exec& exec, const AdversarialLoss& args);
void adversarial_dx(const Exec& exec, const AdversarialDx& args);
}  // namespace cpu
namespace cuda {
void adversarial_shift(const Exec& exec, const AdversarialShift& args);
void adversarial_loss(const Exec& exec, const AdversarialLoss& args);
void adversarial_dx(const Exec& exec, const AdversarialDx& args);
}  // namespace cuda

}  // namespace unroll
