// What models that follow a text add to a chunk: the continuous cache, and the passes of dynamic
// evaluation over the slab of parameters.
#include "bench/harness/roofline.h"
#include "kernels/heads/cache_pointer.h"
#include "kernels/update/dynamic_update.h"

namespace unroll::bench {
namespace {

void add_cache(const Bench& bench, int64_t N, int64_t D, int64_t window) {
  bench.add("cache_pointer/N" + std::to_string(N) + "/D" + std::to_string(D) + "/W" +
                std::to_string(window),
            [=, &bench](Bench::Case& c) {
              const DType act = bench.act();
              const int64_t R = window + N;
              CachePointer a;
              a.p = c.array(bench, DType::f32, N, 1);
              a.memory = c.array(bench, act, R, D);
              a.ids = c.ids(bench, R, 10000);
              a.seen = view_of(c.zeros(bench, 2).data, DType::u64, 1);
              a.h = c.array(bench, act, N, D);
              a.target = c.ids(bench, N, 10000);
              a.scratch = c.scratch(bench, cache_pointer_scratch_bytes(act, N, R));
              // The ring is full after the first calls.
              const double es = double(size_of(act)), n = double(N), d = double(D);
              c.work = {.bytes = (double(R) + 2 * n) * d * es, .flops = 2 * n * double(window) * d};
              c.body = [exec = bench.exec(), a, full = CacheSetting{window, 0.5}]() mutable {
                a.settings = &full;
                cache_pointer(exec, a);
              };
            });
}

}  // namespace

void add_adaptation(const Bench& bench) {
  add_cache(bench, 700, 650, 500);
  add_cache(bench, 700, 400, 2000);
  add_cache(bench, 5, 400, 2000);
  // Parameters of zaremba-small and awd-lstm.
  for (const int64_t n : {int64_t(4653200), int64_t(24221600)}) {
    const std::string size = "n" + std::to_string(n);
    bench.add("accumulate_squares/" + size, [=, &bench](Bench::Case& c) {
      const AccumulateSquares a{.sum = c.zeros(bench, n), .g = c.array(bench, DType::f32, n)};
      c.work = {.bytes = 12.0 * double(n), .flops = 2.0 * double(n)};
      c.body = [exec = bench.exec(), a] { accumulate_squares(exec, a); };
    });
    bench.add("dynamic_update/" + size, [=, &bench](Bench::Case& c) {
      const DynamicUpdate a{.theta = c.array(bench, DType::f32, n),
                            .theta_0 = c.array(bench, DType::f32, n),
                            .g = c.array(bench, DType::f32, n),
                            .rms = c.zeros(bench, n),
                            .lr = 1e-9,
                            .decay = 0.1,
                            .eps = 2e-5};
      c.work = {.bytes = 20.0 * double(n), .flops = 8.0 * double(n)};
      c.body = [exec = bench.exec(), a] { dynamic_update(exec, a); };
    });
  }
}

}  // namespace unroll::bench
