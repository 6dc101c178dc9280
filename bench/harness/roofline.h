// Microbenchmarks that say how near to the machine's limits a kernel runs.
//
// A benchmark declares the bytes it must move and the floating-point operations it must do at
// least. The limits are measured at start on the same machine: a copy between buffers larger than
// any cache, and a large square product in the same precision. Printed per benchmark: GB/s,
// GFLOP/s, and `peak`, the time that the slower of the two limits would need over the time taken.
// Small working sets stay in the caches from one iteration to the next, as they do in training, so
// `peak` can exceed 1 there.
//
// Times: on CUDA the work is captured in a graph, replayed several times between two events; on the
// CPU the wall clock. A case that throws is reported as failed, and the others run.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/harness/patterns.h"
#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "kernels/base/view.h"

namespace unroll::bench {

struct Work {
  double bytes = 0;
  double flops = 0;
};

// The machine under test, and how it is asked to compute.
class Bench {
 public:
  // Measures the limits. act: f32 or bf16, the latter on CUDA only. quick: small sizes, so that all
  // code runs and no figure means anything.
  Bench(const Device& device, DType act, MatmulMode matmul, bool quick);

  const Backend& backend() const { return backend_; }
  Exec exec() const { return backend_.exec(); }
  DType act() const { return act_; }
  bool quick() const { return quick_; }
  bool on_cuda() const { return backend_.device().kind() == DeviceKind::cuda; }
  double peak_bytes_per_second() const { return bytes_per_second_; }
  double peak_flops_per_second() const { return flops_per_second_; }

  // The body of a benchmark: `body` does the declared work once, on exec().
  void run(benchmark::State& state, const Work& work, const std::function<void()>& body) const;
  // Seconds of one `body`, the best or the median of a few.
  double best_seconds(const std::function<void()>& body) const;
  double median_seconds(const std::function<void()>& body) const;

  // What one benchmark does, and the memory it does it in.
  struct Case {
    Work work;
    std::function<void()> body;
    double predicted_seconds = 0;  // by a model of our own; printed if it is not 0
    std::string label;
    std::vector<std::shared_ptr<Buffer>> buffers;

    // An array on the device, of uniform values in [-0.1, 0.1] or ids below `ids_below`.
    template <class... N>
    AnyView<int(sizeof...(N))> array(const Bench& bench, DType dtype, N... n) {
      AnyView<int(sizeof...(N))> v = view_of(static_cast<void*>(nullptr), dtype, n...);
      v.data = fill(bench, dtype, v.size(), 0);
      return v;
    }
    View1 ids(const Bench& bench, int64_t n, int below) {
      return view_of(fill(bench, DType::i32, n, below), DType::i32, n);
    }
    View1 constants(const Bench& bench, const std::vector<double>& values);  // f64
    View1 zeros(const Bench& bench, int64_t n);                              // f32
    Scratch scratch(const Bench& bench, size_t bytes);

   private:
    void* allocate(const Bench& bench, size_t bytes);
    void* fill(const Bench& bench, DType dtype, int64_t n, int ids_below);
  };
  // Registers a benchmark. `make` is called when it is about to run, and sets its work and body.
  void add(const std::string& name, std::function<void(Case&)> make) const;
  // Registers "recurrent_constants/<name>": one figure, measured once, beside what is assumed of it;
  // 0: nothing is.
  void add_figure(const std::string& name, double assumed,
                  std::function<double(Case&)> measure) const;

 private:
  double measure_copy() const;
  double measure_product() const;
  DType act_;
  bool quick_;
  Backend backend_;
  mutable Patterns patterns_;
  double bytes_per_second_ = 0, flops_per_second_ = 0;
};

// The sizes of the published recurrent models: zaremba-small, -medium and -large.
struct Shape {
  int T, B, H;
};
inline constexpr Shape kQuickShapes[] = {{5, 3, 33}, {4, 8, 64}};
inline constexpr Shape kShapes[] = {{20, 20, 200}, {35, 20, 650}, {35, 20, 1500}};
// Penn Treebank, WikiText-2, WikiText-103.
inline constexpr int kVocabularies[] = {10000, 33278, 267735};
std::string text_of(const Shape& s);

void add_gemm(const Bench& bench);
void add_recurrent(const Bench& bench);
void add_recurrent_stacks(const Bench& bench);
void add_recurrent_constants(const Bench& bench);
void add_embedding(const Bench& bench);
void add_elementwise(const Bench& bench);
void add_regularize(const Bench& bench);
void add_normalize(const Bench& bench);
void add_heads(const Bench& bench);
void add_output_layers(const Bench& bench);
void add_update(const Bench& bench);
void add_adaptation(const Bench& bench);

}  // namespace unroll::bench
