// The passes over the slab of parameters: gradient norm and update.
#include "bench/harness/roofline.h"
#include "kernels/update/adam.h"
#include "kernels/update/global_norm.h"
#include "kernels/update/sgd.h"

namespace unroll::bench {
namespace {

// A norm that is clipped, and a rate small enough that repeated updates leave the weights in range.
struct Inputs {
  View1 norm2, inputs;
  Inputs(const Bench& bench, Bench::Case& c)
      : norm2(c.constants(bench, {100.0})), inputs(c.constants(bench, {1e-6, 5.0, 1000.0})) {}
};

}  // namespace

void add_update(const Bench& bench) {
  // Parameters of zaremba-small, -medium and -large.
  for (const int64_t n : {int64_t(4653200), int64_t(19775200), int64_t(66034000)}) {
    const std::string size = "n" + std::to_string(n);
    bench.add("global_norm/" + size, [=, &bench](Bench::Case& c) {
      const GlobalNorm a{.norm2 = c.array(bench, DType::f64, 1),
                         .g = c.array(bench, DType::f32, n),
                         .scratch = c.scratch(bench, global_norm_scratch_bytes(n))};
      c.work = {.bytes = 4.0 * double(n), .flops = 2.0 * double(n)};
      c.body = [exec = bench.exec(), a] { global_norm(exec, a); };
    });
    bench.add("sgd/" + size, [=, &bench](Bench::Case& c) {
      const Inputs in(bench, c);
      const Sgd a{.theta = c.array(bench, DType::f32, n),
                  .g = c.array(bench, DType::f32, n),
                  .norm2 = in.norm2,
                  .inputs = in.inputs};
      c.work = {.bytes = 12.0 * double(n), .flops = 4.0 * double(n)};
      c.body = [exec = bench.exec(), a] { sgd(exec, a); };
    });
    bench.add("adam/" + size, [=, &bench](Bench::Case& c) {
      const Inputs in(bench, c);
      const Adam a{.theta = c.array(bench, DType::f32, n),
                   .m = c.zeros(bench, n),
                   .v = c.zeros(bench, n),
                   .g = c.array(bench, DType::f32, n),
                   .norm2 = in.norm2,
                   .inputs = in.inputs};
      c.work = {.bytes = 28.0 * double(n), .flops = 12.0 * double(n)};
      c.body = [exec = bench.exec(), a] { adam(exec, a); };
    });
  }
}

}  // namespace unroll::bench
