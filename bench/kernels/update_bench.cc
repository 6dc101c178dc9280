// Clip and update of whole models: the norm's pass and the update's pass, as training runs them.
//
// Bytes of a parameter at least, gradients and weights in f32: 4 for the norm, and for the update 12
// with SGD, 20 with momentum, ASGD's mean, Adagrad or RMSprop, 28 with Adam; 2 more where a bf16
// shadow is written.
#include <string>

#include "bench/harness/roofline.h"
#include "host/optim/optimizer.h"

namespace unroll::bench {
namespace {

// Weights of a published model, [rows,columns]; columns 0: a vector.
struct Model {
  const char* name;
  std::vector<std::pair<int64_t, int64_t>> weights;
};

// AWD-LSTM on the Penn Treebank; 1,024 units tied over WikiText-103 and over the One Billion Words.
Model awd_lstm() {
  Model m{"24M", {{10000, 400}, {10000, 0}}};
  for (const auto& [input, hidden] : {std::pair{400, 1150}, {1150, 1150}, {1150, 400}})
    for (const int64_t columns : {input, hidden, 0, 0}) m.weights.push_back({4 * hidden, columns});
  return m;
}
Model wide(const char* name, int64_t vocabulary, int layers) {
  Model m{name, {{vocabulary, 1024}, {vocabulary, 0}}};
  for (int l = 0; l < layers; ++l)
    for (const int64_t columns : {1024, 1024, 0, 0}) m.weights.push_back({4096, columns});
  return m;
}

struct Rule {
  const char* name;
  UpdateRule rule;
  double bytes;  // of a parameter, without the shadow
};
constexpr Rule kRules[] = {
    {"sgd", UpdateRule::sgd, 16},         {"momentum", UpdateRule::momentum, 24},
    {"asgd", UpdateRule::asgd, 24},       {"adagrad", UpdateRule::adagrad, 24},
    {"rmsprop", UpdateRule::rmsprop, 24}, {"adam", UpdateRule::adam, 32},
    {"adamw", UpdateRule::adamw, 32}};

}  // namespace

void add_update(const Bench& bench) {
  std::vector<Model> models = {awd_lstm()};
  if (bench.quick()) models = {{"tiny", {{507, 24}, {507, 0}, {33, 24}}}};
  if (bench.on_cuda() && !bench.quick()) {
    models.push_back(wide("304M", 267735, 4));
    models.push_back(wide("820M", 793471, 1));
  }
  for (const Model& model : models)
    for (const Rule& rule : kRules)
      bench.add(std::string("update/") + rule.name + "/" + model.name, [=, &bench](Bench::Case& c) {
        auto params = std::make_shared<ParamStore>();
        for (size_t i = 0; i < model.weights.size(); ++i)
          params->add("w" + std::to_string(i), model.weights[i].first, model.weights[i].second,
                      zero());
        params->materialize(bench.backend(), bench.act(), 1);
        OptimizerSettings settings;
        settings.rule = rule.rule;
        settings.accumulator = 1;
        auto optimizer = std::make_shared<Optimizer>(bench.backend(), *params, settings);
        // Gradients of a norm that is clipped, and a rate that leaves the weights in range.
        const View1 slab = params->gradient_slab();
        const View1 pattern = c.array(bench, DType::f32, slab.n[0]);
        bench.backend().stream().copy(slab.data, pattern.data, size_t(slab.n[0]) * sizeof(float));
        c.buffers.clear();
        const View1 inputs = c.constants(bench, {1e-6, 5.0, 1.0});
        const Scratch scratch = c.scratch(bench, optimizer->scratch_bytes());
        const double n = double(params->parameters());
        c.work = {.bytes = n * (rule.bytes + (bench.act() == DType::bf16 ? 2 : 0)), .flops = 6 * n};
        c.body = [exec = bench.exec(), params, optimizer, inputs, scratch] {
          optimizer->update(exec, *params, inputs, scratch);
        };
      });
}

}  // namespace unroll::bench
