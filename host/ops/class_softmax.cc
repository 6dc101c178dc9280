#include "host/ops/class_softmax.h"

#include <algorithm>
#include <cmath>

#include "host/ops/taken_gradient.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/class_xent.h"
#include "kernels/heads/linear_softmax_xent.h"
#include "kernels/heads/partition_rows.h"

namespace unroll {

Tensor class_softmax_xent(Tape& tape, const ClassHead& head, const Var& x, const View1& target,
                          const View1& weight, size_t logits_bytes) {
  const Exec& exec = tape.exec();
  const bool record = tape.mode().record;
  const View2 rows = x.matrix(), W_c = tape.params().weight(head.W_c);
  const View1 bounds = tape.params().constant(head.bounds);
  const int64_t N = rows.n[0], D = rows.n[1];
  const Tensor nll = tape.tensor(tape.acc(), {N});
  const Tensor group = tape.tensor(DType::i32, {N}), order = tape.tensor(DType::i32, {N}),
               start = tape.tensor(DType::i32, {bounds.n[0]});
  {
    Tensor holder;
    partition_rows(exec,
                   {.group = group.view<1>(),
                    .order = order.view<1>(),
                    .start = start.view<1>(),
                    .target = target,
                    .bounds = bounds,
                    .scratch = tape.scratch(holder, partition_rows_scratch_bytes(exec, int(N)))});
  }
  LinearSoftmaxXent classes{.loss = nll.view<1>(),
                            .x = rows,
                            .W = W_c,
                            .b = tape.params().vector(head.b_c),
                            .target = group.view<1>()};
  ClassXent words{.loss = nll.view<1>(),
                  .x = rows,
                  .W = tape.params().weight(head.W),
                  .b = tape.params().vector(head.b),
                  .target = target,
                  .order = order.view<1>(),
                  .group = group.view<1>(),
                  .start = start.view<1>(),
                  .bounds = bounds,
                  .largest = head.largest};
  Tensor dx;
  if (record) {
    dx = x.value().like(tape.arena());
    const auto give = [&](auto& args, Param W, Param b) {
      const GradientSink<2> dW = tape.gradient_sink(W);
      const GradientSink<1> db = tape.vector_gradient_sink(b);
      args.dx = dx.matrix();
      args.dW = dW.view;
      args.to_dW = dW.mode;
      args.db = db.view;
      args.to_db = db.mode;
      args.dloss = weight;
    };
    give(classes, head.W_c, head.b_c);
    give(words, head.W, head.b);
  }
  {
    Tensor holder;
    classes.scratch = tape.logits_scratch(
        holder,
        linear_softmax_xent_scratch_bytes(exec, tape.act(), N, D, W_c.n[0], record, logits_bytes));
    linear_softmax_xent(exec, classes);
  }
  {
    Tensor holder;
    words.scratch = tape.logits_scratch(
        holder,
        class_xent_scratch_bytes(exec, tape.act(), N, D, head.largest, record, logits_bytes));
    class_xent(exec, words);
  }
  record_taken_gradient(tape, "class_softmax_xent", x, dx);
  return nll;
}

Tensor class_log_softmax(Tape& tape, const ClassHead& head, const Var& x) {
  const View2 W = tape.params().weight(head.W), W_c = tape.params().weight(head.W_c);
  const int64_t N = x.matrix().n[0];
  const Tensor log_p = tape.tensor(tape.acc(), {N, W.n[0]}),
               log_class = tape.tensor(tape.acc(), {N, W_c.n[0]});
  const View2 z = log_p.matrix();
  gemm(tape.exec(), {.C = z, .A = x.matrix(), .B = W, .transpose_B = Transpose::yes});
  bias_act_forward(tape.exec(), {.y = z, .x = z, .b = tape.params().vector(head.b)});
  linear_log_softmax(tape.exec(), {.log_p = log_class.matrix(),
                                   .x = x.matrix(),
                                   .W = W_c,
                                   .b = tape.params().vector(head.b_c)});
  class_log_softmax(
      tape.exec(),
      {.log_p = z, .log_class = log_class.matrix(), .bounds = tape.params().constant(head.bounds)});
  return log_p;
}

std::vector<int64_t> class_bounds(const std::vector<uint64_t>& counts, int64_t C) {
  const int64_t V = int64_t(counts.size());
  const auto mass = [&](int64_t v) {
    return std::sqrt(double(std::max<uint64_t>(1, counts[size_t(v)])));
  };
  double total = 0, sum = 0;
  for (int64_t v = 0; v < V; ++v) total += mass(v);
  std::vector<int64_t> bounds = {0};
  for (int64_t v = 0; v + 1 < V && int64_t(bounds.size()) < C; ++v) {
    sum += mass(v);
    // A word that is more than a share by itself is a class, and the next begins after it.
    if (sum * double(C) >= total * double(bounds.size()) * (1 - 1e-12)) bounds.push_back(v + 1);
  }
  bounds.push_back(V);
  return bounds;
}

}  // namespace unroll
