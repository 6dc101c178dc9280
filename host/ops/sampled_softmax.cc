#include "host/ops/sampled_softmax.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "host/ops/linear_softmax_xent.h"
#include "host/ops/row_terms.h"
#include "host/ops/taken_gradient.h"
#include "kernels/base/error.h"
#include "kernels/embedding/embedding.h"
#include "kernels/heads/sampler.h"

namespace unroll {
namespace {

View2 column_of(const View1& v) { return view_of(v.data, v.dtype, v.n[0], int64_t(1)); }

}  // namespace

Tensor sampled_softmax_xent(Tape& tape, const SampledHead& head, const Var& x, const View1& target,
                            const View1& weight, size_t logits_bytes) {
  if (!tape.mode().record || !tape.mode().noise)
    return linear_softmax_xent(tape, x, head.W, head.b, target, weight, logits_bytes);
  const Exec& exec = tape.exec();
  const ParamStore& params = tape.params();
  const View2 rows = x.matrix(), W = params.weight(head.W);
  const int64_t N = rows.n[0], D = rows.n[1], S = head.S;
  const Tensor ids = tape.tensor(DType::i32, {S});
  const MaskKey key = tape.next_mask_key();
  draw_samples(exec, {.ids = ids.view<1>(),
                      .keep = params.constant(head.keep),
                      .alias = params.constant(head.alias),
                      .counter = key.counter,
                      .op = key.op});
  const Tensor nll = tape.tensor(tape.acc(), {N}), dx = x.value().like(tape.arena());
  // Of targets, then of samples.
  const Tensor dW_words = tape.tensor(tape.acc(), {N + S, D}),
               db_words = tape.tensor(tape.acc(), {N + S});
  {
    const Tensor W_true = tape.tensor(tape.act(), {N, D}),
                 W_sample = tape.tensor(tape.act(), {S, D});
    embedding_forward(exec, {.y = W_true.matrix(), .E = W, .ids = target});
    embedding_forward(exec, {.y = W_sample.matrix(), .E = W, .ids = ids.view<1>()});
    Tensor holder;
    const size_t least = sampled_xent_scratch_bytes(tape.act(), 1, int(S)),
                 row = sampled_xent_scratch_bytes(tape.act(), 2, int(S)) - least;
    const size_t at_once =
        logits_bytes > least ? std::min(size_t(N), 1 + (logits_bytes - least) / row) : 1;
    sampled_xent(exec, {.objective = head.objective,
                        .log_normalizer = head.log_normalizer,
                        .loss = nll.view<1>(),
                        .dx = dx.matrix(),
                        .dW_true = dW_words.matrix().slice(0, N),
                        .db_true = db_words.view<1>().slice(0, N),
                        .dW_sample = dW_words.matrix().slice(N, S),
                        .db_sample = db_words.view<1>().slice(N, S),
                        .x = rows,
                        .W_true = W_true.matrix(),
                        .W_sample = W_sample.matrix(),
                        .b = params.vector(head.b),
                        .log_q = params.constant(head.log_q),
                        .target = target,
                        .ids = ids.view<1>(),
                        .dloss = weight,
                        .scratch = tape.logits_scratch(holder, least + (at_once - 1) * row)});
  }
  add_row_terms(tape, head.W, dW_words.matrix(), target, ids.view<1>());
  if (head.b) {
    const View2 db_terms = column_of(db_words.view<1>());
    const GradientSink<1> db = tape.vector_gradient_sink(head.b);
    Tensor holder;
    const size_t bytes = embedding_scratch_bytes(exec, db_terms.dtype, int(N + S), 1);
    embedding_backward(exec, {.dE = column_of(db.view),
                              .to_dE = db.mode,
                              .dy = db_terms,
                              .ids = target,
                              .more_ids = ids.view<1>(),
                              .scratch = tape.scratch(holder, bytes)});
  }
  record_taken_gradient(tape, "sampled_softmax_xent", x, dx);
  return nll;
}

AliasTable alias_table(const std::vector<double>& q) {
  const size_t V = q.size();
  double total = 0;
  for (const double p : q) total += p;
  AliasTable table{std::vector<double>(V), std::vector<double>(V), std::vector<double>(V)};
  std::vector<double> share(V);  // of a slot: 1 on average
  std::vector<size_t> small, large;
  for (size_t v = 0; v < V; ++v) {
    if (!(q[v] > 0) || !std::isfinite(total))
      throw Error(ErrorKind::usage, "the sampler's probability of word " + std::to_string(v) +
                                        " is " + std::to_string(q[v]) +
                                        "; every word needs a finite one above 0");
    table.log_q[v] = std::log(q[v] / total);
    share[v] = q[v] / total * double(V);
    (share[v] < 1 ? small : large).push_back(v);
  }
  constexpr double kAlways = 4294967295.0;
  const auto fill = [&](size_t slot, double keep, size_t other) {
    table.keep[slot] = std::clamp(std::floor(keep * 4294967296.0) - 1, 0.0, kAlways);
    table.alias[slot] = double(other);
  };
  while (!small.empty() && !large.empty()) {
    const size_t less = small.back(), more = large.back();
    small.pop_back();
    fill(less, share[less], more);
    share[more] -= 1 - share[less];
    if (share[more] < 1) {
      large.pop_back();
      small.push_back(more);
    }
  }
  // What is left is 1 but for rounding.
  for (const auto& rest : {small, large})
    for (const size_t v : rest) fill(v, 1, v);
  return table;
}

std::vector<double> log_uniform(int64_t V) {
  std::vector<double> q(static_cast<size_t>(V));
  for (int64_t v = 0; v < V; ++v)
    q[size_t(v)] = std::log1p(1 / double(v + 1)) / std::log(double(V) + 1);
  return q;
}

std::vector<double> unigram(const std::vector<uint64_t>& counts) {
  std::vector<double> q;
  for (const uint64_t n : counts) q.push_back(double(std::max<uint64_t>(1, n)));
  return q;
}

}  // namespace unroll
