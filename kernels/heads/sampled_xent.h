// Losses over the true word and S words drawn once for all rows, in place of a sum over the
// vocabulary. For training; evaluation takes linear_softmax_xent.
//
//   score of word w in row n     a_nw = W_w x_n + b_w,   z_nw = a_nw - log(S q_w)
//
//   softmax   loss_n = log(exp a_n,t + sum over s of exp z_ns) - a_n,t
//             a sample that is the row's own target is left out (an accidental hit), so the sum is
//             that of the softmax over all words in the mean over draws, whatever S and q: the true
//             word's term is exact, and the others are importance samples (Bengio & Senecal 2008;
//             Jean, Cho, Memisevic & Bengio 2015). Correcting the true word, too, is right only for
//             samples without repetition, where S q_w is a probability
//   nce       loss_n = softplus(-(z_n,t - c)) + sum over s of softplus(z_ns - c)
//             Gutmann & Hyvarinen 2010; Mnih & Teh 2012, eq. 8, with S noise words shared by all
//             rows, hits kept. c is the fixed logarithm of the normaliser: 0 as theirs, or ln V,
//             with which a network starts out near p = 1/V
//
//   dz_ns = dloss_n p_ns, dz_nt = dloss_n (p_nt - 1), p the share of the sum or the logistic function
//   dx_n  = dz_nt W_t + sum over s of dz_ns W_s
//
// The gradients of W and b are given for the N target rows and the S sampled rows apart; they are
// added into W's own rows by id (embedding_backward), in the order of their positions. Losses in
// nats.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

enum class SampledObjective : uint8_t { softmax, nce };

struct SampledXent {
  SampledObjective objective = SampledObjective::softmax;
  double log_normalizer = 0;  // c of nce
  View1 loss;                 // [N]    acc; out
  View2 dx;                   // [N,D]  act; out
  View2 dW_true;              // [N,D]  acc; out: dz_nt x_n
  View1 db_true;              // [N]    acc; out: dz_nt
  View2 dW_sample;            // [S,D]  acc; out: sum over n of dz_ns x_n
  View1 db_sample;            // [S]    acc; out
  View2 x;                    // [N,D]  act: f32, f64, bf16
  View2 W_true;               // [N,D]  act: row n is W of target n; zero where it is negative
  View2 W_sample;             // [S,D]  act
  View1 b{};                  // [V]    acc; may be left out
  View1 log_q;                // [V]    acc
  View1 target;               // [N]    i32; negative: no loss, no gradient
  View1 ids;                  // [S]    i32
  View1 dloss;                // [N]    acc
  Scratch scratch{};          // at least sampled_xent_scratch_bytes(.., rows = 1, S)
};
void sampled_xent(const Exec& exec, const SampledXent& args);
// Scratch that lets `rows` rows of scores stand at once.
size_t sampled_xent_scratch_bytes(DType act, int rows, int S);

namespace cpu {
void sampled_xent(const Exec& exec, const SampledXent& args);
}
namespace cuda {
void sampled_xent(const Exec& exec, const SampledXent& args);
}

}  // namespace unroll
