// The output layer with its loss: with gradients, and the loss alone.
#include <algorithm>

#include "bench/harness/roofline.h"
#include "kernels/heads/linear_softmax_xent.h"

namespace unroll::bench {
namespace {

// Logits stand in at most this much scratch.
constexpr size_t kScratchBudget = size_t(1) << 30;

void add_head(const Bench& bench, const Shape& s, int V, bool gradients) {
  const int N = s.T * s.B, D = s.H;
  bench.add(std::string("linear_softmax_xent/") + (gradients ? "train/" : "loss/") + "V" +
                std::to_string(V) + "/N" + std::to_string(N) + "/D" + std::to_string(D),
            [=, &bench](Bench::Case& c) {
              const DType act = bench.act();
              LinearSoftmaxXent a;
              a.loss = c.array(bench, DType::f32, N);
              a.x = c.array(bench, act, N, D);
              a.W = c.array(bench, act, V, D);
              a.b = c.array(bench, DType::f32, V);
              a.target = c.ids(bench, N, V);
              if (gradients) {
                a.dx = c.array(bench, act, N, D);
                a.dW = c.array(bench, DType::f32, V, D);
                a.db = c.array(bench, DType::f32, V);
                a.dloss = c.array(bench, DType::f32, N);
              }
              const auto bytes_for = [&](int rows) {
                return linear_softmax_xent_scratch_bytes(bench.exec(), act, rows, D, V);
              };
              const int rows = int(std::clamp<size_t>(kScratchBudget / bytes_for(1), 1, size_t(N)));
              a.scratch = c.scratch(bench, bytes_for(rows));
              const double es = double(size_of(act)), x = double(N) * D, W = double(V) * D;
              // Logits count for nothing: the op does not have to store them.
              c.work = {.bytes = gradients ? 2 * x * es + W * (es + 4) : (x + W) * es,
                        .flops = (gradients ? 6.0 : 2.0) * double(N) * double(V) * double(D)};
              c.body = [exec = bench.exec(), a] { linear_softmax_xent(exec, a); };
            });
}

}  // namespace

void add_heads(const Bench& bench) {
  for (const int V : kVocabularies)
    for (const Shape& s : kShapes) {
      add_head(bench, s, V, true);
      add_head(bench, s, V, false);
    }
}

}  // namespace unroll::bench
