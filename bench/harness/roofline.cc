#include "bench/harness/roofline.h"

#include <algorithm>
#include <chrono>
#include <exception>

#include "kernels/elementwise/add.h"
#include "kernels/gemm/gemm.h"

#if defined(UNROLL_WITH_CUDA)
#include "host/device/graph.h"
#include "kernels/base/cuda_check.h"
#endif

namespace unroll::bench {
namespace {

constexpr int kReplays = 10;  // between two events: their own cost is a microsecond or two

double seconds_of(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Times one `body` on the device, again and again.
class Timer {
 public:
  Timer(const Backend& backend, const std::function<void()>& body)
      : backend_(backend), body_(body) {
    body();  // libraries set themselves up, pages are touched
    backend.stream().synchronize();
#if defined(UNROLL_WITH_CUDA)
    if (backend.device().kind() == DeviceKind::cuda) {
      graph_ = Graph::capture(backend.stream(), body);
      CUDA_CHECK(cudaEventCreate(&start_));
      CUDA_CHECK(cudaEventCreate(&stop_));
    }
#endif
  }
#if defined(UNROLL_WITH_CUDA)
  ~Timer() {
    if (start_) CUDA_CHECK_NOTHROW(cudaEventDestroy(start_));
    if (stop_) CUDA_CHECK_NOTHROW(cudaEventDestroy(stop_));
  }
#endif
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // Calls of the body in one measurement, and what that measurement says: seconds of all of them.
  int calls() const {
#if defined(UNROLL_WITH_CUDA)
    if (graph_) return kReplays;
#endif
    return 1;
  }
  double measure() const {
#if defined(UNROLL_WITH_CUDA)
    if (graph_) {
      CUDA_CHECK(cudaEventRecord(start_, backend_.stream().handle()));
      for (int i = 0; i < kReplays; ++i) graph_.launch(backend_.stream());
      CUDA_CHECK(cudaEventRecord(stop_, backend_.stream().handle()));
      CUDA_CHECK(cudaEventSynchronize(stop_));
      float milliseconds = 0;
      CUDA_CHECK(cudaEventElapsedTime(&milliseconds, start_, stop_));
      return double(milliseconds) * 1e-3;
    }
#endif
    return seconds_of(body_);
  }
  double seconds() const { return measure() / calls(); }

 private:
  const Backend& backend_;
  std::function<void()> body_;
#if defined(UNROLL_WITH_CUDA)
  Graph graph_;
  cudaEvent_t start_ = nullptr, stop_ = nullptr;
#endif
};

// A benchmark that times itself. If it fails it says why, and the others still run.
benchmark::internal::Benchmark* registered(const std::string& name,
                                           std::function<void(benchmark::State&)> body) {
  return benchmark::RegisterBenchmark(name.c_str(),
                                      [body = std::move(body)](benchmark::State& state) {
                                        try {
                                          body(state);
                                        } catch (const std::exception& e) {
                                          state.SkipWithError(e.what());
                                        }
                                      })
      ->UseManualTime();
}

}  // namespace

std::string text_of(const Shape& s) {
  return "T" + std::to_string(s.T) + "/B" + std::to_string(s.B) + "/H" + std::to_string(s.H);
}

Bench::Bench(const Device& device, DType act, MatmulMode matmul, bool quick)
    : act_(act), quick_(quick), backend_(device, matmul), patterns_(backend_) {
  bytes_per_second_ = measure_copy();
  flops_per_second_ = measure_product();
}

double Bench::measure_copy() const {
  // 1 GiB or 128 MiB
  const int64_t rows = quick_ ? 64 : 1024, columns = on_cuda() ? 1 << 18 : 1 << 15;
  Case c;
  const View2 y = c.array(*this, DType::f32, rows, columns);
  const View2 x = c.array(*this, DType::f32, rows, columns);
  const Exec exec = this->exec();
  double seconds = best_seconds([&] { add_scaled(exec, {.y = y, .x = x}); });
  // The driver's own copy, should it be the faster one.
  const size_t bytes = size_t(x.size()) * sizeof(float);
  seconds = std::min(seconds, best_seconds([&] { backend_.stream().copy(y.data, x.data, bytes); }));
  return 2.0 * double(bytes) / seconds;
}

double Bench::measure_product() const {
  const int64_t n = quick_ ? 256 : on_cuda() ? 8192 : 1536;
  Case c;
  const View2 C = c.array(*this, act_, n, n), A = c.array(*this, act_, n, n),
              B = c.array(*this, act_, n, n);
  const Exec exec = this->exec();
  const double seconds = best_seconds([&] { gemm(exec, {.C = C, .A = A, .B = B}); });
  return 2.0 * double(n) * double(n) * double(n) / seconds;
}

double Bench::best_seconds(const std::function<void()>& body) const {
  const Timer timer(backend_, body);
  double best = timer.seconds();
  for (int i = 0; i < 5; ++i) best = std::min(best, timer.seconds());
  return best;
}

double Bench::median_seconds(const std::function<void()>& body) const {
  const Timer timer(backend_, body);
  std::vector<double> seconds(9);
  for (double& s : seconds) s = timer.seconds();
  std::nth_element(seconds.begin(), seconds.begin() + 4, seconds.end());
  return seconds[4];
}

void Bench::run(benchmark::State& state, const Work& work,
                const std::function<void()>& body) const {
  const Timer timer(backend_, body);
  double total = 0;
  while (state.KeepRunningBatch(timer.calls())) {
    const double seconds = timer.measure();
    state.SetIterationTime(seconds);
    total += seconds;
  }
  const double mean = total / double(state.iterations());
  const double bound = std::max(work.bytes / bytes_per_second_, work.flops / flops_per_second_);
  state.counters["GB/s"] = work.bytes / mean * 1e-9;
  state.counters["GFLOP/s"] = work.flops / mean * 1e-9;
  state.counters["peak"] = bound / mean;
}

void Bench::add(const std::string& name, std::function<void(Case&)> make) const {
  const MatmulMode matmul = backend_.exec().matmul;
  const std::string precision = matmul == MatmulMode::tf32   ? "tf32"
                                : matmul == MatmulMode::bf16 ? "bf16"
                                                             : name_of(act_);
  registered(name + "/" + precision, [this, make = std::move(make)](benchmark::State& state) {
    Case c;
    make(c);
    run(state, c.work, c.body);
    if (c.predicted_seconds > 0) state.counters["predicted_us"] = c.predicted_seconds * 1e6;
    state.SetLabel(c.label);
  })->Unit(benchmark::kMicrosecond);
}

void Bench::add_figure(const std::string& name, double assumed,
                       std::function<double(Case&)> measure) const {
  registered("recurrent_constants/" + name, [assumed, measure = std::move(measure)](
                                                benchmark::State& state) {
    Case c;
    const double measured = measure(c);
    for (auto _ : state) state.SetIterationTime(1e-9);
    state.counters["measured"] = measured;
    if (assumed <= 0) return;
    state.counters["assumed"] = assumed;
    state.counters["ratio"] = measured / assumed;
  })->Iterations(1);
}

void* Bench::Case::allocate(const Bench& bench, size_t bytes) {
  buffers.push_back(std::make_shared<Buffer>(bench.backend_.device(), MemoryKind::device,
                                             std::max<size_t>(bytes, 16)));
  return buffers.back()->data();
}

void* Bench::Case::fill(const Bench& bench, DType dtype, int64_t n, int ids_below) {
  const size_t bytes = size_t(n) * size_of(dtype), turn = buffers.size();
  void* data = allocate(bench, bytes);
  bench.patterns_.fill(data, dtype, bytes, ids_below, turn);
  return data;
}

Scratch Bench::Case::scratch(const Bench& bench, size_t bytes) {
  return {allocate(bench, bytes), bytes};
}

View1 Bench::Case::constants(const Bench& bench, const std::vector<double>& values) {
  const size_t bytes = values.size() * sizeof(double);
  void* data = allocate(bench, bytes);
  bench.backend_.stream().copy(data, values.data(), bytes);
  bench.backend_.stream().synchronize();
  return view_of(data, DType::f64, values.size());
}

View1 Bench::Case::zeros(const Bench& bench, int64_t n) {
  void* data = allocate(bench, size_t(n) * sizeof(float));
  bench.backend_.stream().fill_zero(data, size_t(n) * sizeof(float));
  return view_of(data, DType::f32, n);
}

}  // namespace unroll::bench
