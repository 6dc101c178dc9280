// unroll selftest: what this build and machine can do, and whether the parts agree, in a few
// seconds.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <vector>

#include "host/io/checkpoint.h"
#include "host/optim/optimizer.h"
#include "host/train/scheduler.h"
#include "models/cli/verbs.h"
#include "models/rnn_lm.h"

namespace unroll::cli {
namespace {

constexpr int kV = 23, kT = 6, kB = 5, kSteps = 150;

// A text with a rule: word n+1 follows from word n and the lane.
HostChunk chunk_at(int step) {
  HostChunk c;
  c.T = kT;
  c.B = kB;
  const auto word = [](int64_t b, int64_t n) { return int32_t((n * (b % 3 + 1) + b) % kV); };
  for (int t = 0; t < kT; ++t)
    for (int b = 0; b < kB; ++b) {
      c.input.push_back(word(b, step * kT + t));
      c.target.push_back(word(b, step * kT + t + 1));
    }
  c.keep.assign(kB, step > 0 ? 1 : 0);
  c.tokens = kT * kB;
  return c;
}

struct Run {
  std::vector<double> losses;  // nats per token, by step
};

Run train_tiny(Cell cell, const Device& device, DType act, bool eager,
               MatmulMode matmul = MatmulMode::f32) {
  const Backend backend(device, matmul);
  ParamStore params;
  RnnLm::Config config;
  config.cell = cell;
  config.V = kV;
  config.E = 13;
  config.H = 37;
  config.L = 2;
  config.dropout = 0.1;
  const RnnLm model(config, params);
  params.materialize(backend, act, 1);
  OptimizerSettings settings;
  settings.rule = OptimizerSettings::Rule::adam;
  const Optimizer optimizer(backend, params, settings);
  Scheduler::Options options;
  options.max_tokens = kT * kB;
  options.max_lanes = kB;
  options.eager = eager;
  Scheduler scheduler(backend, model, params, &optimizer, options);
  const State state(backend, model.state_shape(), kB, act);
  for (int step = 0; step < kSteps; ++step) {
    StepScalars scalars;
    scalars.update = {0.01, 1.0};
    scalars.seed = 5;
    scalars.mask_step = uint64_t(step);
    scalars.weight = 1.0 / (kT * kB);
    scheduler.train(chunk_at(step), state, scalars);
  }
  Run run;
  for (const StepFigures& f : scheduler.take_figures()) run.losses.push_back(f.nats / f.tokens);
  return run;
}

// The largest relative difference of the first losses; later ones drift apart by rounding.
double difference(const Run& a, const Run& b, int steps) {
  double worst = 0;
  for (int i = 0; i < steps; ++i) {
    const double e = std::abs(a.losses[size_t(i)] - b.losses[size_t(i)]) / b.losses[size_t(i)];
    if (!(e <= worst)) worst = std::isnan(e) ? INFINITY : e;
  }
  return worst;
}

bool check(const char* what, bool ok, const std::string& figures) {
  fmt::print("{:<44} {:<5} {}\n", what, ok ? "ok" : "FAILED", figures);
  return ok;
}

int selftest() {
  std::string why_not;
  const bool cuda = Device::cuda_available(&why_not);
  const Device cpu = Device::cpu();
  fmt::print("unroll {}\n{}, {} instructions for bf16\n", version(), cpu.name(),
             cpu.multiplies_bf16() ? "with" : "without");
  if (cuda)
    fmt::print("{}, {} multiprocessors, {:.1f} GB\n", Device::cuda().name(),
               Device::cuda().sm_count(), double(Device::cuda().memory_bytes()) * 1e-9);
  else
    fmt::print("no GPU: {}\n", why_not);
  bool ok = true;
  const Device one = Device::cpu(1);  // models this small do not gain from more threads
  for (const Cell cell : {Cell::tanh, Cell::lstm, Cell::gru}) {
    const std::string name = info_of(cell).name;
    const Run f64 = train_tiny(cell, one, DType::f64, false);
    const Run f32 = train_tiny(cell, one, DType::f32, false);
    ok &= check((name + ": learns a rule").c_str(), f64.losses.back() < 0.5 * f64.losses.front(),
                fmt::format("loss {:.3f} to {:.3f}", f64.losses.front(), f64.losses.back()));
    ok &= check((name + ": f32 follows f64").c_str(), difference(f32, f64, 10) < 1e-4,
                fmt::format("{:.1e}", difference(f32, f64, 10)));
    const Run rounded = train_tiny(cell, one, DType::f32, false, MatmulMode::bf16);
    ok &= check((name + ": bf16 follows f64").c_str(), difference(rounded, f64, 10) < 2e-2,
                fmt::format("{:.1e}", difference(rounded, f64, 10)));
    if (!cuda) continue;
    const Run gpu = train_tiny(cell, Device::cuda(), DType::f32, true);
    const Run captured = train_tiny(cell, Device::cuda(), DType::f32, false);
    const Run bf16 = train_tiny(cell, Device::cuda(), DType::bf16, false);
    ok &= check((name + ": GPU and CPU agree").c_str(), difference(gpu, f64, 10) < 1e-4,
                fmt::format("{:.1e}", difference(gpu, f64, 10)));
    ok &= check((name + ": captured equals eager, bit for bit").c_str(),
                gpu.losses == captured.losses, "");
    ok &= check((name + ": bf16 on the GPU follows f64").c_str(), difference(bf16, f64, 10) < 2e-2,
                fmt::format("{:.1e}", difference(bf16, f64, 10)));
  }
  std::puts(ok ? "all well" : "something is wrong; please report it with this output");
  return ok ? 0 : 1;
}

}  // namespace

Verb add_selftest(CLI::App&) {
  return [] { return selftest(); };
}

}  // namespace unroll::cli
