// A tiny language model with everything around it, in f64 on the CPU unless told otherwise.
#pragma once

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/optim/optimizer.h"
#include "host/train/scheduler.h"
#include "models/rnn_lm.h"

namespace unroll::test {

struct TinyLm {
  Backend backend;
  ParamStore params;
  std::unique_ptr<RnnLm> model;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<Scheduler> scheduler;
  State state;

  TinyLm(const RnnLm::Config& config, int T, int B, const OptimizerSettings& settings = {},
         DType act = DType::f64, const Device& device = Device::cpu(1), bool eager = false,
         size_t logits_bytes = 1 << 20, bool row_gradient = false, int micro_steps = 1)
      : backend(device) {
    model = std::make_unique<RnnLm>(config, params);
    if (row_gradient) params.keep_row_gradients(1, micro_steps);
    params.materialize(backend, act, 7);
    optimizer = std::make_unique<Optimizer>(backend, params, settings);
    Scheduler::Options options;
    options.max_tokens = T * B;
    options.max_lanes = B;
    options.micro_steps = micro_steps;
    options.eager = eager;
    options.logits_bytes = logits_bytes;
    scheduler = std::make_unique<Scheduler>(backend, *model, params, optimizer.get(), options);
    state = State(backend, model->state_shape(), B, act);
  }

  // Every weight by a formula that other programs can follow: 0.5 sin(0.7 i + 0.1 sum of the name's
  // letters).
  void set_formula_weights() {
    for (size_t i = 0; i < params.entries().size(); ++i) {
      const ParamStore::Entry& e = params.entries()[i];
      int k = 0;
      for (char c : e.name) k += c;
      std::vector<double> v(size_t(e.size()));
      for (size_t j = 0; j < v.size(); ++j) v[j] = 0.5 * std::sin(0.7 * double(j) + 0.1 * k);
      write(int(i), v);
    }
    params.cast_shadow(backend.exec());
  }
  void write(int index, const std::vector<double>& v) {
    if (params.acc() == DType::f64) return params.write(backend, index, v.data());
    const std::vector<float> f(v.begin(), v.end());
    params.write(backend, index, f.data());
  }
  std::vector<double> read(int index) const { return copy(index, params.slab()); }
  std::vector<double> gradient(int index) const { return copy(index, params.gradient_slab()); }
  std::vector<double> all_weights() const {
    std::vector<double> all;
    for (size_t i = 0; i < params.entries().size(); ++i)
      for (double v : read(int(i))) all.push_back(v);
    return all;
  }

 private:
  std::vector<double> copy(int index, const View1& slab) const {
    const ParamStore::Entry& e = params.entries()[size_t(index)];
    const size_t size = size_of(slab.dtype);
    std::vector<char> raw(size_t(e.size()) * size);
    backend.stream().copy(raw.data(), static_cast<char*>(slab.data) + size_t(e.offset) * size,
                          raw.size());
    backend.stream().synchronize();
    std::vector<double> v(size_t(e.size()));
    for (size_t i = 0; i < v.size(); ++i)
      v[i] = slab.dtype == DType::f64 ? reinterpret_cast<const double*>(raw.data())[i]
                                      : reinterpret_cast<const float*>(raw.data())[i];
    return v;
  }
};

// A chunk whose token n of lane b is token(b, n) for n = first .. first+T; carried unless `first`
// is 0.
inline HostChunk make_chunk(int T, int B, int64_t first,
                            const std::function<int32_t(int64_t, int64_t)>& token) {
  HostChunk c;
  c.T = T;
  c.B = B;
  for (int t = 0; t < T; ++t)
    for (int b = 0; b < B; ++b) {
      c.input.push_back(token(b, first + t));
      c.target.push_back(token(b, first + t + 1));
    }
  c.keep.assign(size_t(B), first > 0 ? 1 : 0);
  c.tokens = int64_t(T) * B;
  return c;
}

}  // namespace unroll::test
