// The output layer as a mixture of softmaxes: hidden states and targets in, per-token losses out.
//
//   pi   = softmax(P x)                                            [K]    the prior
//   h_k  = dropout(tanh(W_k x + b_k))                              [E]    K latent vectors
//   P(v) = sum_k pi_k softmax(W_o h_k + b_o)_v
//
//   Yang, Dai, Salakhutdinov & Cohen 2018 ("Breaking the Softmax Bottleneck"), section 2.3. Their
//   program adds 1e-8 to P before the logarithm; here nothing is added.
//
// Of the logits of all N K rows at most half stand at once, in training and in evaluation.
#pragma once

#include "host/tape/tape.h"

namespace unroll {

struct MixtureHead {
  int K = 0;
  Param prior;     // P    [K,D]
  Param W, b;      // all W_k and b_k, one below the other: [K*E,D], [K*E]
  Param W_o, b_o;  // [V,E], [V]
  double dropout = 0;
  bool locked = true;  // one mask of all K*E latent units per chunk instead of one per step
};

// nll [N]: -log P of each target in nats, 0 where it is negative; `weight` [N] and `logits_bytes`
// as for linear_softmax_xent. With `adversarial`, eps of adversarial_target.h, the targets of every
// expert are moved in the gradients, not in nll.
Tensor mixture_softmax_xent(Tape& tape, const MixtureHead& head, const Var& x, const View1& target,
                            const View1& weight, size_t logits_bytes, double adversarial = 0);

// log P of every word after each row of x: [N,V].
Tensor mixture_log_softmax(Tape& tape, const MixtureHead& head, const Var& x);

}  // namespace unroll
