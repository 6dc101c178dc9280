// The adaptive softmax: frequent words in a first level with one entry per cluster of rarer words,
// each cluster a softmax of its own that only the rows with a target in it work out.
//
//   p(w) = p_0(w)                       for the c_0 most frequent words (the shortlist)
//   p(w) = p_0(cluster i) p_i(w)        for a word of cluster i
//   p_0  = softmax(W_0 x + b_0)                           c_0 words and C clusters
//   p_i  = softmax(U_i P_i x)                             P_i [D_i,D], U_i [V_i,D_i]: D_i < D
//   tied p_0 = softmax([E_0; K] x + [b_0; k])    p_i = softmax(E_i x + b_i), E_i rows of E [V,D]
//
// Grave, Joulin, Cisse, Grangier & Jegou 2017 ("Efficient softmax approximation for GPUs"), section
// 4; as torch.nn.AdaptiveLogSoftmaxWithLoss has it. Tied: Merity, Keskar & Socher 2018
// (arXiv:1803.08240), section 3. Ids have to be sorted by falling count.
//
// It is exact: every probability is that of the model, in training and evaluation.
#pragma once

#include <cmath>
#include <vector>

#include "host/tape/tape.h"

namespace unroll {

struct AdaptiveHead {
  std::vector<int64_t> bounds;  // 0, c_0, .., V: the shortlist, then the clusters
  Constant groups;              // the same on the device, [C+2]
  Constant clusters;            // of the clusters alone, from 0: bounds[1 + i] - c_0, [C+1]
  Param W, b;                   // W_0 [c_0+C,D] and b_0, which may be missing; tied: E [V,D], b [V]
  struct Tail {
    Param P, U;  // [D_i,D], [V_i,D_i]
  };
  std::vector<Tail> tails;  // tied: none
  Param K, k;               // tied: [C,D], [C]
  bool tied() const { return tails.empty(); }
  int64_t C() const { return int64_t(bounds.size()) - 2; }
};

// D_i of an untied cluster, counted from 0: D / div^(i+1), rounded down, as in PyTorch.
inline int64_t cluster_width(int64_t D, double div_value, int64_t cluster) {
  return int64_t(double(D) / std::pow(div_value, double(cluster + 1)));
}

// nll [N]: -log p of each target in nats, 0 where it is negative; `weight` [N] and `logits_bytes`
// as for linear_softmax_xent. `room` [C] is for how many rows each cluster has room: at least as
// many as have their target there (else a loss becomes NaN); without it, for all N. On a GPU the
// products of a cluster have the fixed shape of its room, rows beyond the cluster's own count
// nothing; on the CPU a cluster works on its own rows alone.
Tensor adaptive_softmax_xent(Tape& tape, const AdaptiveHead& head, const Var& x,
                             const View1& target, const View1& weight, size_t logits_bytes,
                             const std::vector<int64_t>& room = {});

// log p of every word after each row of x: [N,V].
Tensor adaptive_log_softmax(Tape& tape, const AdaptiveHead& head, const Var& x);

// Room for the rows of a chunk by cluster, from its targets: their number rounded up in steps of
// N/16, so that chunks of a text share a few values, and with them a captured graph.
std::vector<int64_t> adaptive_room(const AdaptiveHead& head, const std::vector<int32_t>& target);

}  // namespace unroll
