// Weight drop, dropout of words, activation penalties, and what a mixture of softmaxes adds to the
// output layer.
#include "bench/harness/roofline.h"
#include "kernels/heads/adversarial_target.h"
#include "kernels/heads/mixture_softmax.h"
#include "kernels/regularize/activation_penalty.h"
#include "kernels/regularize/gaussian_noise.h"
#include "kernels/regularize/row_dropout.h"
#include "kernels/regularize/weight_drop.h"

namespace unroll::bench {
namespace {

constexpr int64_t kExperts = 15;

void add_weight_drop(const Bench& bench, const Shape& s) {
  const int64_t rows = 4 * s.H, columns = s.H;
  const double elements = double(rows * columns);
  for (const bool copy : {true, false})
    bench.add((copy ? "weight_drop_forward/" : "weight_drop_bits/") + text_of(s),
              [=, &bench](Bench::Case& c) {
                WeightDrop a;
                if (copy) a.y = c.array(bench, bench.act(), rows, columns);
                a.bits = c.array(bench, DType::u32, rows, weight_drop_words(columns));
                a.x = c.array(bench, DType::f32, rows, columns);
                a.p = 0.5;
                a.key.counter = c.array(bench, DType::u64, 2);
                c.work.bytes = elements * ((copy ? 4 + double(size_of(bench.act())) : 0) + 1.0 / 8);
                c.body = [exec = bench.exec(), a] { weight_drop_forward(exec, a); };
              });
  bench.add("weight_drop_backward/" + text_of(s), [=, &bench](Bench::Case& c) {
    const View2 gradient = c.array(bench, DType::f32, rows, columns);
    const WeightDropBackward a{.dx = gradient,
                               .dy = gradient,
                               .bits = c.array(bench, DType::u32, rows, weight_drop_words(columns)),
                               .p = 0.5};
    c.work.bytes = elements * (8 + 1.0 / 8);
    c.body = [exec = bench.exec(), a] { weight_drop_backward(exec, a); };
  });
}

}  // namespace

void add_regularize(const Bench& bench) {
  for (const Shape& s : kShapes) {
    const int64_t N = int64_t(s.T) * s.B, D = s.H;
    const double bytes = double(N * D) * double(size_of(bench.act()));
    add_weight_drop(bench, s);
    bench.add("row_dropout/" + text_of(s), [=, &bench](Bench::Case& c) {
      RowDropout a;
      a.y = a.x = c.array(bench, bench.act(), N, D);
      a.ids = c.ids(bench, N, 10000);
      a.p = 0.1;
      a.key.counter = c.array(bench, DType::u64, 2);
      c.work.bytes = 2 * bytes;
      c.body = [exec = bench.exec(), a] { row_dropout(exec, a); };
    });
    bench.add("gaussian_noise/" + text_of(s), [=, &bench](Bench::Case& c) {
      GaussianNoise a;
      a.y = a.x = c.array(bench, bench.act(), N, D);
      a.deviation = 0.15;
      a.key.counter = c.array(bench, DType::u64, 2);
      c.work.bytes = 2 * bytes;
      c.body = [exec = bench.exec(), a] { gaussian_noise(exec, a); };
    });
    bench.add("adversarial_shift/" + text_of(s), [=, &bench](Bench::Case& c) {
      const AdversarialShift a{.shift = c.array(bench, DType::f32, N),
                               .x = c.array(bench, bench.act(), N, D),
                               .W = c.array(bench, bench.act(), 10000, D),
                               .target = c.ids(bench, N, 10000),
                               .eps = 0.005};
      c.work.bytes = 2 * bytes;
      c.body = [exec = bench.exec(), a] { adversarial_shift(exec, a); };
    });
    bench.add("adversarial_dx/" + text_of(s), [=, &bench](Bench::Case& c) {
      const AdversarialDx a{.dx = c.array(bench, bench.act(), N, D),
                            .x = c.array(bench, bench.act(), N, D),
                            .nll = c.array(bench, DType::f32, N),
                            .shift = c.array(bench, DType::f32, N),
                            .dloss = c.array(bench, DType::f32, N)};
      c.work.bytes = 3 * bytes;
      c.body = [exec = bench.exec(), a] { adversarial_dx(exec, a); };
    });
    bench.add("activation_penalty_backward/" + text_of(s), [=, &bench](Bench::Case& c) {
      const ActivationPenalty a{.dy = c.array(bench, bench.act(), s.T, s.B, s.H),
                                .y = c.array(bench, bench.act(), s.T, s.B, s.H),
                                .weight = c.array(bench, DType::f32, N),
                                .ar = 2,
                                .tar = 1,
                                .to_dy = Accumulate::add};
      c.work.bytes = 3 * bytes;
      c.body = [exec = bench.exec(), a] { activation_penalty_backward(exec, a); };
    });
    bench.add("mixture_xent/" + text_of(s), [=, &bench](Bench::Case& c) {
      const MixtureXent a{.loss = c.array(bench, DType::f32, N),
                          .da = c.array(bench, bench.act(), N, kExperts),
                          .dnll = c.array(bench, DType::f32, N * kExperts),
                          .a = c.array(bench, DType::f32, N, kExperts),
                          .nll = c.array(bench, DType::f32, N * kExperts),
                          .target = c.ids(bench, N, 10000),
                          .dloss = c.array(bench, DType::f32, N)};
      c.work.bytes = double(N * kExperts) * (12 + double(size_of(bench.act())));
      c.body = [exec = bench.exec(), a] { mixture_xent(exec, a); };
    });
  }
}

}  // namespace unroll::bench
