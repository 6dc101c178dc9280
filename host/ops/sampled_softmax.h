// Output layers that are trained on the true word and a sample of the others, and evaluated over
// the whole vocabulary: sampled softmax and noise-contrastive estimation. See
// kernels/heads/sampled_xent.h.
//
// S words are drawn anew for each chunk and shared by all its rows. The gradients of W and b touch
// only the rows of targets and samples. Where ParamStore::in_rows(W), dW is these rows, see
// Tape::give_row_gradient; otherwise, and in db, the others are 0.
#pragma once

#include <cstdint>
#include <vector>

#include "host/tape/tape.h"
#include "kernels/heads/sampled_xent.h"

namespace unroll {

struct SampledHead {
  SampledObjective objective = SampledObjective::softmax;
  int64_t S = 0;
  double log_normalizer = 0;    // nce
  Param W, b;                   // [V,D], [V]
  Constant keep, alias, log_q;  // of AliasTable, [V]
};

// In training (a tape with records and noise) the sampled objective of each target in nats, which
// for nce is no log-probability; otherwise -log p under the full softmax, gradients included where
// the tape records: evaluation, scoring and dynamic evaluation are exact. 0 where a target is
// negative; `weight` [N] and `logits_bytes` as for linear_softmax_xent.
Tensor sampled_softmax_xent(Tape& tape, const SampledHead& head, const Var& x, const View1& target,
                            const View1& weight, size_t logits_bytes);

// Walker's alias table of a distribution, and its logarithms. Throws a usage Error where an entry
// is not above 0.
struct AliasTable {
  std::vector<double> keep, alias;  // u32 and i32 as doubles, exact
  std::vector<double> log_q;
};
AliasTable alias_table(const std::vector<double>& q);

// q(v) = ln((v + 2) / (v + 1)) / ln(V + 1), which Zipf's law makes of ids sorted by falling count;
// as TensorFlow's log_uniform_candidate_sampler.
std::vector<double> log_uniform(int64_t V);
// q(v) proportional to the counts; a word not counted counts as seen once.
std::vector<double> unigram(const std::vector<uint64_t>& counts);

}  // namespace unroll
