// Mixture of softmaxes: what lies around the output layer when it is computed K times per token.
//
//   P(v) = sum_k pi_k p_k(v)      pi = softmax(a)     p_k = softmax(W h_k + b)
//   loss = -log P(y) = -logsumexp_k(log pi_k - nll_k)          nll_k = -log p_k(y), nats
//   r_k  = pi_k p_k(y) / P(y)     da = dloss (pi - r)      dnll_k = dloss r_k
//
//   Yang, Dai, Salakhutdinov & Cohen 2018 ("Breaking the Softmax Bottleneck"), equations 2 and 3.
//
// Rows of experts are n K + k. The output layer needs no more than each row's nll to give the loss,
// and no more than dnll as the row's weight to give gradients, so N K V logits never stand at once
// (kernels/heads/linear_softmax_xent.h works through them in chunks). The losses are combined as
// logarithms: nothing is added to P to keep it above 0.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

// The target of every row of experts: to[n K + k] = target[n].
struct MixtureTargets {
  View1 to;      // [N*K]  i32; out
  View1 target;  // [N]    i32
};
void mixture_targets(const Exec& exec, const MixtureTargets& args);

struct MixtureXent {
  View1 loss;     // [N]    acc; out; 0 where the target is negative
  View2 da{};     // [N,K]  act: f32, f64, bf16; out; left out in evaluation, and then dnll too
  View1 dnll{};   // [N*K]  acc; out
  View2 a;        // [N,K]  acc
  View1 nll;      // [N*K]  acc
  View1 target;   // [N]    i32; a negative one has no loss and no gradient
  View1 dloss{};  // [N]    acc; weight of each token; only with da
};
void mixture_xent(const Exec& exec, const MixtureXent& args);

// log P of every word, an expert at a time: log_p <- log(exp(log_p) + pi_k exp(expert)), where
// expert 0 overwrites.
struct MixtureAddExpert {
  View2 log_p;   // [N,V]  acc; in and out
  View2 expert;  // [N,V]  acc; log p_k
  View2 a;       // [N,K]  acc
  int k = 0;     // which expert
};
void mixture_add_expert(const Exec& exec, const MixtureAddExpert& args);

namespace cpu {
void mixture_targets(const Exec& exec, const MixtureTargets& args);
void mixture_xent(const Exec& exec, const MixtureXent& args);
void mixture_add_expert(const Exec& exec, const MixtureAddExpert& args);
}  // namespace cpu
namespace cuda {
void mixture_targets(const Exec& exec, const MixtureTargets& args);
void mixture_xent(const Exec& exec, const MixtureXent& args);
void mixture_add_expert(const Exec& exec, const MixtureAddExpert& args);
}  // namespace cuda

}  // namespace unroll
