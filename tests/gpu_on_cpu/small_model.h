// A small language model that trains through the real host code, on any device, for the tests of
// the whole.
#pragma once

#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "host/train/scheduler.h"
#include "models/rnn_lm.h"
#include "tests/harness/tolerances.h"

namespace unroll::test {

struct SmallModel {
  static constexpr int kV = 37, kT = 5, kB = 3;

  struct Spec {
    RnnLm::Config model;
    DType act = DType::f32;
    OptimizerSettings::Rule rule = OptimizerSettings::Rule::sgd;
    double decay = 1e-3;
    bool row_gradient = false;
    int micro_steps = 1;
    bool side_branch = true;
    bool times = false;
  };
  // Two layers with dropout, sizes that are multiples of nothing.
  static Spec spec(Cell cell = Cell::lstm, DType act = DType::f32) {
    Spec s;
    s.model.cell = cell;
    s.model.V = kV;
    s.model.E = 11;
    s.model.H = 13;
    s.model.dropout = 0.25;
    s.act = act;
    return s;
  }

  // An output layer that is trained on samples of the words.
  static OutputLayer::Config sampled_output() {
    OutputLayer::Config output;
    output.kind = OutputLayer::Kind::sampled;
    output.samples = 9;
    output.q = log_uniform(kV);
    return output;
  }

  SmallModel(const Device& device, const Spec& spec, bool eager)
      : rule(spec.rule), backend(device), model(spec.model, params) {
    if (spec.row_gradient) params.keep_row_gradients(1);
    params.materialize(backend, spec.act, 7);
    OptimizerSettings settings;
    settings.rule = rule;
    settings.decay = spec.decay;
    optimizer = std::make_unique<Optimizer>(backend, params, settings);
    state = State(backend, model.state_shape(), kB, spec.act);
    Scheduler::Options options;
    options.max_tokens = 2 * kT * kB;
    options.max_lanes = kB;
    options.micro_steps = spec.micro_steps;
    options.eager = eager;
    options.side_branch = spec.side_branch;
    if (spec.times) options.times = &times.emplace(backend);
    scheduler = std::make_unique<Scheduler>(backend, model, params, optimizer.get(), options);
  }

  // Words of a random text whose next word is often a function of the last, so that there is
  // something to learn.
  static HostChunk chunk(int step, int T = kT) {
    std::mt19937 random(unsigned(step) + 1);
    HostChunk c;
    c.T = T;
    c.B = kB;
    for (int i = 0; i < T * kB; ++i) {
      c.input.push_back(int32_t(random() % kV));
      c.target.push_back(i == 4 ? -1 : (c.input.back() * 5 + int32_t(random() % 2)) % kV);
    }
    c.keep.assign(kB, step == 0 ? 0 : 1);
    c.tokens = T * kB - 1;
    return c;
  }

  // Every scalar changes from step to step: one that a graph had kept would show.
  void train(int step, int T = kT, bool first = true, bool last = true) {
    StepScalars scalars;
    scalars.update.lr = (rule == OptimizerSettings::Rule::sgd ? 0.5 : 0.02) / (1 + step);
    scalars.update.clip = 0.4 + 0.05 * step;
    scalars.seed = 3;
    scalars.mask_step = uint64_t(step);
    scalars.weight = 1.0 / kB;
    scheduler->train(chunk(step, T), state, scalars, first, last);
  }

  std::vector<double> weights() const {
    std::vector<double> all;
    for (size_t i = 0; i < params.entries().size(); ++i) {
      std::vector<float> values(size_t(params.entries()[i].size()));
      params.read(backend, int(i), values.data());
      all.insert(all.end(), values.begin(), values.end());
    }
    return all;
  }

  OptimizerSettings::Rule rule;
  Backend backend;
  ParamStore params;
  RnnLm model;
  std::unique_ptr<Optimizer> optimizer;
  std::optional<StepTimes> times;
  State state;
  std::unique_ptr<Scheduler> scheduler;
};

// What a run has left behind.
struct Trained {
  std::vector<double> nats, norm2, weights;
  explicit Trained(SmallModel& m) {
    for (const StepFigures& f : m.scheduler->take_figures()) {
      nats.push_back(f.nats);
      norm2.push_back(f.norm2);
    }
    weights = m.weights();
  }
  bool operator==(const Trained&) const = default;
};

// To what rounding of f32 over some ten steps leaves; a kernel that is 1% wrong is far outside.
inline void expect_follows(const Trained& gpu, const Trained& cpu) {
  expect_close(gpu.nats, cpu.nats, 1e-5, "loss");
  expect_close(gpu.norm2, cpu.norm2, 1e-4, "gradient norm");
  expect_close(gpu.weights, cpu.weights, 1e-4, "weights");
}

}  // namespace unroll::test
