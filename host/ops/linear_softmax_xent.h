// The output layer and its loss: hidden states, W, b and targets in, per-token losses out. Logits
// are never a value on the tape; when it records, the gradients are taken in the same pass. See
// kernels/heads.
#pragma once

#include "host/tape/tape.h"
#include "kernels/heads/linear_softmax_xent.h"

namespace unroll {

// nll [N]: -log p of each target in nats, 0 where the target is negative. `weight` [N] is each
// token's share in the objective, sum over n of weight[n] nll[n]. `logits_bytes` bounds the scratch
// in which logits stand. Label smoothing and z-loss belong to the objective: they count in training,
// where the tape records and has noise, and nll is then the loss with them; the soft cap belongs to
// the model. `shift` [N] lowers the targets' logits in the gradients, not in nll: see
// adversarial_target.h.
Tensor linear_softmax_xent(Tape& tape, const Var& x, Param W, Param b, const View1& target,
                           const View1& weight, size_t logits_bytes,
                           const XentOptions& options = {}, const View1& shift = {});

// log p(v) of every word after each row of x: [N,V].
Tensor linear_log_softmax(Tape& tape, const Var& x, Param W, Param b, double soft_cap = 0);

}  // namespace unroll
