// Dropout, bias and activation, column sums, converting copies.
#include "bench/harness/roofline.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/elementwise/dropout.h"

namespace unroll::bench {
namespace {

void add_dropout(const Bench& bench, const Shape& s, bool locked) {
  bench.add(std::string(locked ? "dropout_locked/" : "dropout/") + text_of(s),
            [=, &bench](Bench::Case& c) {
              Dropout a;
              a.y = c.array(bench, bench.act(), s.T, s.B, s.H);
              a.x = c.array(bench, bench.act(), s.T, s.B, s.H);
              a.p = 0.5;
              a.locked = locked;
              a.key.counter = c.array(bench, DType::u64, 2);
              c.work.bytes = 2 * double(a.x.size()) * double(size_of(bench.act()));
              c.body = [exec = bench.exec(), a] { dropout(exec, a); };
            });
}

}  // namespace

void add_elementwise(const Bench& bench) {
  for (const Shape& s : kShapes) {
    const int64_t N = int64_t(s.T) * s.B, D = s.H;
    const double bytes = double(N * D) * double(size_of(bench.act()));
    add_dropout(bench, s, false);
    add_dropout(bench, s, true);
    bench.add("bias_act_forward/tanh/" + text_of(s), [=, &bench](Bench::Case& c) {
      const BiasAct a{.y = c.array(bench, bench.act(), N, D),
                      .x = c.array(bench, bench.act(), N, D),
                      .b = c.array(bench, DType::f32, D),
                      .act = Activation::tanh};
      c.work.bytes = 2 * bytes;
      c.body = [exec = bench.exec(), a] { bias_act_forward(exec, a); };
    });
    bench.add("bias_act_backward/tanh/" + text_of(s), [=, &bench](Bench::Case& c) {
      const BiasActBackward a{.dx = c.array(bench, bench.act(), N, D),
                              .dy = c.array(bench, bench.act(), N, D),
                              .y = c.array(bench, bench.act(), N, D),
                              .act = Activation::tanh};
      c.work.bytes = 3 * bytes;
      c.body = [exec = bench.exec(), a] { bias_act_backward(exec, a); };
    });
    bench.add("column_sum/" + text_of(s), [=, &bench](Bench::Case& c) {
      const ColumnSum a{.sum = c.array(bench, DType::f32, 4 * D),
                        .x = c.array(bench, bench.act(), N, 4 * D)};
      c.work = {.bytes = 4 * bytes, .flops = 4 * double(N * D)};
      c.body = [exec = bench.exec(), a] { column_sum(exec, a); };
    });
    bench.add("add_scaled/" + text_of(s), [=, &bench](Bench::Case& c) {
      const AddScaled a{.y = c.array(bench, bench.act(), N, D),
                        .x = c.array(bench, bench.act(), N, D),
                        .to_y = Accumulate::add};
      c.work.bytes = 3 * bytes;
      c.body = [exec = bench.exec(), a] { add_scaled(exec, a); };
    });
  }
}

}  // namespace unroll::bench
