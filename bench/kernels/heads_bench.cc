// The output layer with its loss: gradients, gradients in the low-memory mode, and the loss alone.
// The name of a case ends in its scratch.
#include "bench/harness/roofline.h"
#include "kernels/heads/linear_softmax_xent.h"

namespace unroll::bench {
namespace {

enum class Pass { train, low_memory, evaluate };

struct HeadShape {
  int N, D, V;
};
// Penn Treebank, WikiText-2, WikiText-103, the One Billion Words, and the head of a 2B Transformer.
constexpr HeadShape kCudaShapes[] = {{1400, 400, 10000},
                                     {1400, 400, 33278},
                                     {4480, 1024, 267735},
                                     {8192, 1024, 793471},
                                     {8192, 2304, 256000}};
// Penn Treebank, WikiText-2, Wikipedia of 2013.
constexpr HeadShape kQuickHeads[] = {{60, 24, 507}};
constexpr HeadShape kCpuShapes[] = {{400, 200, 10000}, {700, 650, 33278}, {700, 200, 219000}};

void add_head(const Bench& bench, const HeadShape& s, Pass pass) {
  const bool gradients = pass != Pass::evaluate;
  const size_t budget = size_t(pass == Pass::low_memory ? (bench.on_cuda() ? 512 : 16)
                                                        : (bench.on_cuda() ? 16384 : 256))
                        << 20;
  const DType act = bench.act();
  const auto [N, D, V] = s;
  const size_t bytes =
      linear_softmax_xent_scratch_bytes(bench.exec(), act, N, D, V, gradients, budget);
  const char* names[] = {"train", "low_memory", "evaluate"};
  bench.add(std::string("softmax/") + names[int(pass)] + "/N" + std::to_string(N) + "/D" +
                std::to_string(D) + "/V" + std::to_string(V) + "/scratch" + std::to_string(bytes),
            [=, &bench](Bench::Case& c) {
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
              a.scratch = c.scratch(bench, bytes);
              const double es = double(size_of(act)), x = double(N) * D, W = double(V) * D;
              // Logits count for nothing: the op does not have to store them, nor to form them
              // twice.
              c.work = {.bytes = gradients ? 2 * x * es + W * (es + 4) : (x + W) * es,
                        .flops = (gradients ? 6.0 : 2.0) * double(N) * double(V) * double(D)};
              c.body = [exec = bench.exec(), a] { linear_softmax_xent(exec, a); };
            });
}

}  // namespace

void add_heads(const Bench& bench) {
  const auto add_all = [&](const auto& shapes) {
    for (const HeadShape& s : shapes)
      for (const Pass pass : {Pass::train, Pass::low_memory, Pass::evaluate})
        add_head(bench, s, pass);
  };
  if (bench.quick()) return add_all(kQuickHeads);
  bench.on_cuda() ? add_all(kCudaShapes) : add_all(kCpuShapes);
}

}  // namespace unroll::bench
