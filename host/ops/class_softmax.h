// The softmax in two levels of Mikolov's rnnlm: a class, then a word of the class.
//
//   p(w | x) = softmax(W_c x + b_c)[c(w)] softmax over the words of c(w) of (W x + b)
//
// Goodman 2001 ("Classes for fast maximum entropy training"); classes as Mikolov et al. 2011
// ("Extensions of recurrent neural network language model"), section 3: words sorted by falling
// count are cut where the running sum of their counts, or of the counts' square roots, passes equal
// shares. See kernels/heads/class_xent.h.
#pragma once

#include <cstdint>
#include <vector>

#include "host/tape/tape.h"

namespace unroll {

struct ClassHead {
  int64_t largest = 0;  // words of the largest class
  Constant bounds;      // [C+1]: class c has words bounds[c] .. bounds[c+1] - 1
  Param W_c, b_c;       // [C,D], [C]
  Param W, b;           // [V,D], [V]
};

// nll [N]: -log p of each target in nats, 0 where it is negative; `weight` [N] and `logits_bytes`
// as for linear_softmax_xent. Exact in training and evaluation.
Tensor class_softmax_xent(Tape& tape, const ClassHead& head, const Var& x, const View1& target,
                          const View1& weight, size_t logits_bytes);

// log p of every word after each row of x: [N,V].
Tensor class_log_softmax(Tape& tape, const ClassHead& head, const Var& x);

// Where classes begin, and V at the end: at most C of them, none empty, cut at equal shares of the
// sum of the counts' square roots (the default of rnnlm's later versions). A word that was not
// counted is taken as seen once. The counts must not rise.
std::vector<int64_t> class_bounds(const std::vector<uint64_t>& counts, int64_t C);

}  // namespace unroll
