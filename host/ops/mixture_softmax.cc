#include "host/ops/mixture_softmax.h"

#include <algorithm>
#include <vector>

#include "host/ops/adversarial_target.h"
#include "host/ops/dropout.h"
#include "host/ops/linear.h"
#include "host/ops/linear_softmax_xent.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/adversarial_target.h"
#include "kernels/heads/linear_softmax_xent.h"
#include "kernels/heads/mixture_softmax.h"

namespace unroll {
namespace {

// Columns first .. first + rows.n[1] - 1 of the K*E latent units of every token.
struct Block {
  View2 rows;  // [N,..]
  int64_t first;
};

// Every K-th row of [N*K,E] from row k on: expert k's vectors, [N,E].
View2 expert_rows(const View2& latent, int64_t K, int64_t k) {
  View2 rows = latent.slice(k, 1);
  rows.n[0] = latent.n[0] / K;
  rows.ld = K * latent.ld;
  return rows;
}

// All latent units side by side, [N,K*E], or, where padded rows keep them apart, a block per
// expert.
std::vector<Block> blocks_of(const View2& latent, int64_t K) {
  const int64_t E = latent.n[1];
  std::vector<Block> blocks;
  if (latent.ld == E) {
    View2 all = latent;
    all.n[0] /= K;
    all.n[1] = all.ld = K * E;
    return {{all, 0}};
  }
  for (int64_t k = 0; k < K; ++k) blocks.push_back({expert_rows(latent, K, k), k * E});
  return blocks;
}

// tanh(W x + b) as [T,B*K,E], so that its matrix is [N*K,E] with row n K + k for expert k.
Var latent_vectors(Tape& tape, const MixtureHead& head, const Var& x) {
  const View2 W = tape.params().weight(head.W);
  const int64_t T = x.value().extent(0), B = x.value().extent(1), K = head.K, E = W.n[0] / K;
  Var h = tape.var(tape.tensor(tape.act(), {T, B * K, E}));
  for (const Block& block : blocks_of(h.matrix(), K)) {
    const int64_t width = block.rows.n[1];
    gemm(tape.exec(), {.C = block.rows,
                       .A = x.matrix(),
                       .B = W.slice(block.first, width),
                       .transpose_B = Transpose::yes});
    bias_act_forward(tape.exec(), {.y = block.rows,
                                   .x = block.rows,
                                   .b = tape.params().vector(head.b).slice(block.first, width),
                                   .act = Activation::tanh});
  }
  tape.record("latent", [head, x = x.value(), dx = x.slot(), y = h.value(), dy = h.slot(),
                         K](Tape& t) {
    const Tensor dh = t.gradient(dy);
    bias_act_backward(
        t.exec(), {.dx = dh.matrix(), .dy = dh.matrix(), .y = y.matrix(), .act = Activation::tanh});
    for (const Block& block : blocks_of(dh.matrix(), K)) {
      const GradientSink<2> to_x = t.gradient_sink(dx);
      if (to_x.view)
        gemm(t.exec(), {.C = to_x.view,
                        .A = block.rows,
                        .B = t.params().weight(head.W).slice(block.first, block.rows.n[1]),
                        .beta = beta_of(to_x.mode)});
    }
    t.aside([head, x, dh, K](Tape& t) {
      const GradientSink<2> dW = t.gradient_sink(head.W);
      const GradientSink<1> db = t.vector_gradient_sink(head.b);
      for (const Block& block : blocks_of(dh.matrix(), K)) {
        const int64_t width = block.rows.n[1];
        gemm(t.exec(), {.C = dW.view.slice(block.first, width),
                        .A = block.rows,
                        .B = x.matrix(),
                        .transpose_A = Transpose::yes,
                        .beta = beta_of(dW.mode)});
        column_sum(t.exec(),
                   {.sum = db.view.slice(block.first, width), .x = block.rows, .to_sum = db.mode});
      }
    });
  });
  return h;
}

// P x in the accumulate type: [N,K].
Tensor prior_logits(Tape& tape, const MixtureHead& head, const Var& x) {
  Tensor a = tape.tensor(tape.acc(), {x.matrix().n[0], head.K});
  gemm(tape.exec(), {.C = a.matrix(),
                     .A = x.matrix(),
                     .B = tape.params().weight(head.prior),
                     .transpose_B = Transpose::yes});
  return a;
}

// What logits may take, so that at most half of the rows' stand at once.
size_t half_of_logits(const Tape& tape, int64_t rows, const View2& W_o, size_t logits_bytes) {
  const size_t half =
      linear_softmax_xent_scratch_bytes(tape.exec(), tape.act(), (rows + 1) / 2, W_o.n[1], W_o.n[0],
                                        tape.mode().record, logits_bytes);
  return std::min(half, logits_bytes);
}

}  // namespace

Tensor mixture_softmax_xent(Tape& tape, const MixtureHead& head, const Var& x, const View1& target,
                            const View1& weight, size_t logits_bytes, double adversarial) {
  const Var h = dropout(tape, latent_vectors(tape, head, x), head.dropout, head.locked);
  const int64_t N = x.matrix().n[0], rows = N * head.K;
  const Tensor a = prior_logits(tape, head, x);
  const Tensor row_target = tape.tensor(DType::i32, {rows});
  mixture_targets(tape.exec(), {.to = row_target.view<1>(), .target = target});
  logits_bytes = half_of_logits(tape, rows, tape.params().weight(head.W_o), logits_bytes);

  Tape scoring(tape.exec(), tape.arena(), tape.params(), Mode::evaluation(), {});
  const Tensor row_nll =
      linear_softmax_xent(scoring, h, head.W_o, head.b_o, row_target.view<1>(), {}, logits_bytes);
  tape.part("scores");
  const Tensor nll = tape.tensor(tape.acc(), {N});
  MixtureXent args{
      .loss = nll.view<1>(), .a = a.matrix(), .nll = row_nll.view<1>(), .target = target};
  if (!tape.mode().record) {
    mixture_xent(tape.exec(), args);
    return nll;
  }
  const Tensor shift = adversarial_shift(tape, h, head.W_o, row_target.view<1>(), adversarial);
  Tensor moved_nll, moved_loss;
  if (shift) {
    mixture_xent(tape.exec(), args);
    moved_nll = row_nll.like(tape.arena());
    moved_loss = nll.like(tape.arena());
    adversarial_loss(
        tape.exec(),
        {.loss = moved_nll.view<1>(), .nll = row_nll.view<1>(), .shift = shift.view<1>()});
    args.nll = moved_nll.view<1>();
    args.loss = moved_loss.view<1>();
  }
  const Tensor da = tape.tensor(tape.act(), {N, head.K}), dnll = tape.tensor(tape.acc(), {rows});
  args.da = da.matrix();
  args.dnll = dnll.view<1>();
  args.dloss = weight;
  mixture_xent(tape.exec(), args);
  tape.record("mixture_prior", [head, x = x.value(), dx = x.slot(), da](Tape& t) {
    const GradientSink<2> to_x = t.gradient_sink(dx);
    if (to_x.view)
      gemm(t.exec(), {.C = to_x.view,
                      .A = da.matrix(),
                      .B = t.params().weight(head.prior),
                      .beta = beta_of(to_x.mode)});
    t.aside(
        [head, x, da](Tape& t) { add_linear_gradients(t, da.matrix(), x.matrix(), head.prior); });
  });
  // The same losses again, now with each expert's share as the weight of its row.
  linear_softmax_xent(tape, h, head.W_o, head.b_o, row_target.view<1>(), dnll.view<1>(),
                      logits_bytes, {}, shift ? shift.view<1>() : View1{});
  return nll;
}

Tensor mixture_log_softmax(Tape& tape, const MixtureHead& head, const Var& x) {
  const Var h = dropout(tape, latent_vectors(tape, head, x), head.dropout, head.locked);
  const Tensor a = prior_logits(tape, head, x);
  const View2 W = tape.params().weight(head.W_o);
  const int64_t N = x.matrix().n[0], V = W.n[0];
  const Tensor log_p = tape.tensor(tape.acc(), {N, V}), expert = tape.tensor(tape.acc(), {N, V});
  for (int k = 0; k < head.K; ++k) {
    linear_log_softmax(tape.exec(), {.log_p = expert.matrix(),
                                     .x = expert_rows(h.matrix(), head.K, k),
                                     .W = W,
                                     .b = tape.params().vector(head.b_o)});
    mixture_add_expert(
        tape.exec(), {.log_p = log_p.matrix(), .expert = expert.matrix(), .a = a.matrix(), .k = k});
  }
  return log_p;
}

}  // namespace unroll
