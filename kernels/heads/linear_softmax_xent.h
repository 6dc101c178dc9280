// Output layer and loss in one op: hidden states in, loss and gradients out; logits are never a
// value of the caller's.
//
//   z_n = W x_n + b                     with a soft cap c:  z_n = c tanh((W x_n + b) / c)
//   lse_n = log sum_v exp(z_nv)         q_n = (1 - s) onehot(target_n) + s / V
//   loss_n = lse_n - q_n z_n + k lse_n^2                                                     nats
//   dz_n = dloss_n ((1 + 2 k lse_n) softmax(z_n) - q_n)     then, with a cap, times 1 - (z_n / c)^2
//   dx = dz W    dW = dz^T x    db = sum_n dz_n
//
// s is label smoothing (Szegedy et al. 2016, section 7), k the weight of the z-loss (Chowdhery et
// al. 2022, section 5), c the soft cap (Gemma Team 2024, section 2); all are 0 by default: cross-
// entropy as it is. The gradients are taken in the same pass, because the upstream gradient of a
// per-token loss is known before it: dloss[n] is the token's weight in the objective. A mean over
// tokens is dloss = 1 / tokens, a sum is 1, any other weighting is as good.
//
// A negative target is ignored: loss 0, no gradient. The entry of the true class is formed once, in
// the accumulate type, from lse - z[target]. On CUDA in bf16 the logits of training are kept in
// bf16 as their gradients are, but for the true one; evaluation never rounds them.
//
// -inf logits (a bias of -inf masks a word, cap or not) have probability 0. An impossible target
// costs +inf nats, and so does label smoothing over a masked word; gradients stay finite. A row of
// nothing but -inf has loss +inf and gradient 0. A NaN or +inf logit makes the row's loss and its
// whole gradient NaN.
//
// With `shift` the gradients are those of the loss with the target's logit lowered by shift[n]
// (adversarial_target.h); the loss that is written stays the plain one.
//
// Memory: see linear_softmax_xent_scratch_bytes. All sums are in a fixed order: the same bits from
// the same arguments, scratch size and, on a CPU, number of threads.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct XentOptions {
  double label_smoothing = 0;  // s, in [0, 1)
  double z_loss = 0;           // k, 0 or more
  double soft_cap = 0;         // c; 0: no cap
};

struct LinearSoftmaxXent {
  View1 loss;  // [N]    acc; out; nats
  View2 dx{};  // [N,D]  act; out, overwritten; left out in evaluation, and then dW and db too
  View2 dW{};  // [V,D]  acc; out; may be left out, with db, where logits_gradient is given
  View1 db{};  // [V]    acc; out; may be left out
  Accumulate to_dW = Accumulate::overwrite, to_db = Accumulate::overwrite;
  View2 x;            // [N,D]  act: f32, f64, bf16
  View2 W;            // [V,D]  act
  View1 b{};          // [V]    acc; may be left out
  View1 target;       // [N]    i32
  View1 dloss{};      // [N]    acc; weight of each token; only with dx
  View1 shift{};      // [N]    acc; may be left out; only with dx and without options
  Scratch scratch{};  // as linear_softmax_xent_scratch_bytes says, or more
  XentOptions options{};
};
void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args);

// Bytes of scratch with which the op runs best within `budget` bytes; more than the budget only
// where the least it can do with is more. The op divides its work by the scratch it is given:
//
//   training     the logits of all N tokens if they fit, else few, tall, equal chunks of tokens.
//                Where those would be so short that reading and writing dW for each costs more than
//                computing the logits twice, the low-memory mode: it walks the vocabulary once for
//                lse and once more for the gradients, one piece after another, and writes each row
//                of dW once.
//   evaluation   walks the vocabulary in pieces of the size of a cache
//
// No memory holds N x V logits in the low-memory mode and in evaluation.
size_t linear_softmax_xent_scratch_bytes(const Exec& exec, DType act, int64_t N, int64_t D,
                                         int64_t V, bool gradients, size_t budget);

// Where CUDA's training has the logits of all N tokens in the scratch at once, dz [N,V], act, stands
// here after the op: who left out dW and db takes them from it, while others go on with dx. Empty
// where it does not.
View2 logits_gradient(const Exec& exec, const LinearSoftmaxXent& args);

// log p(v | x_n) for every v: what generation and full distributions need. out[n,v] = z -
// logsumexp(z).
struct LinearLogSoftmax {
  View2 log_p;  // [N,V]  acc
  View2 x;      // [N,D]  act
  View2 W;      // [V,D]  act
  View1 b{};    // [V]    acc; may be left out
  double soft_cap = 0;
};
void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args);

namespace cpu {
void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args);
void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args);
}  // namespace cpu
namespace cuda {
void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args);
void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args);
}  // namespace cuda

}  // namespace unroll
