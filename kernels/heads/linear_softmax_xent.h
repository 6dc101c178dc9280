// Output layer and loss in one op: hidden states in, loss and gradients out; logits are never a
// value of the caller's.
//
//   z_n = W x_n + b        loss_n = logsumexp(z_n) - z_n[target_n]                           nats
//   dz_n = dloss_n (softmax(z_n) - onehot(target_n))    dx = dz W    dW = dz^T x    db = sum_n dz_n
//
// The gradients are taken in the same pass, because the upstream gradient of a per-token loss is
// known before it: dloss[n] is the token's weight in the objective. Rows are worked through in tall
// chunks that fit the scratch; the logits' row stride is padded to a multiple of 8 elements, so odd
// V stays aligned. A negative target is ignored: loss 0, no gradient. dW is summed in the order of
// chunks. -inf logits get probability 0; a NaN logit makes the row's loss NaN.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct LinearSoftmaxXent {
  View1 loss;  // [N]    acc; out; nats
  View2 dx{};  // [N,D]  act; out, overwritten; left out in evaluation, and then dW and db too
  View2 dW{};  // [V,D]  acc; out
  View1 db{};  // [V]    acc; out; may be left out
  Accumulate to_dW = Accumulate::overwrite, to_db = Accumulate::overwrite;
  View2 x;            // [N,D]  act: f32, f64, bf16
  View2 W;            // [V,D]  act
  View1 b{};          // [V]    acc; may be left out
  View1 target;       // [N]    i32
  View1 dloss{};      // [N]    acc; weight of each token; only with dx
  Scratch scratch{};  // at least linear_softmax_xent_scratch_bytes(.., rows = 1); more means fewer
                      // chunks
};
void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args);

// Scratch that lets `rows` rows of logits stand at once.
size_t linear_softmax_xent_scratch_bytes(const Exec& exec, DType act, int rows, int D, int V);

// log p(v | x_n) for every v: what generation and full distributions need. out[n,v] = z -
// logsumexp(z).
struct LinearLogSoftmax {
  View2 log_p;  // [N,V]  acc
  View2 x;      // [N,D]  act
  View2 W;      // [V,D]  act
  View1 b{};    // [V]    acc; may be left out
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
