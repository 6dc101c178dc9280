// Layer normalisation: of the rows that a recurrent layer normalises outside its loop, [T*B,4H]; and
// the loop of an LSTM with layer normalisation, on CUDA in each schedule that takes it, to be compared
// with recurrent_*/lstm.
#include "bench/harness/roofline.h"
#include "kernels/normalize/layer_norm.h"
#include "kernels/recurrent/planner.h"
#include "kernels/recurrent/recurrent.h"

namespace unroll::bench {

namespace {

void add_loop(const Bench& bench, bool backward, Schedule schedule, const Shape& s) {
  const std::string name =
      std::string("recurrent_norm_") + (backward ? "backward" : "forward") + "/lstm/" +
      (schedule == Schedule::automatic ? "" : name_of(schedule) + std::string("/"));
  bench.add(name + text_of(s), [=, &bench](Bench::Case& c) {
    const int64_t T = s.T, B = s.B, H = s.H, GH = 4 * H;
    const DType act = bench.act();
    RecurrentForward f{};
    f.cell = Cell::lstm;
    f.schedule = schedule;
    f.h = c.array(bench, act, T + 1, B, H);
    f.c = c.array(bench, DType::f32, T + 1, B, H);
    f.saved = c.array(bench, act, T, B, info_of(Cell::lstm).saved * H);
    f.R = c.array(bench, act, GH, H);
    f.norm = {.g_R = c.array(bench, DType::f32, GH),
              .g_c = c.array(bench, DType::f32, H),
              .b_c = c.array(bench, DType::f32, H),
              .Rh_hat = c.array(bench, act, T, B, GH),
              .Rh_rstd = c.array(bench, DType::f32, T, 1, B),
              .c_hat = c.array(bench, act, T, B, H),
              .c_rstd = c.array(bench, DType::f32, T, B)};
    f.scratch = c.scratch(
        bench, recurrent_scratch_bytes(bench.exec(), Cell::lstm, act, s.T, s.B, s.H, true));
    const double es = double(size_of(act)), units = double(T * B * H);
    c.work.flops = 2.0 * double(T * B * GH) * double(H);
    // Wx or dh and dWx, dRh; the saved numbers, h and R; c.
    c.work.bytes = units * (backward ? 19 * es + 4 : 10 * es + 20) + double(GH * H) * es;
    if (bench.on_cuda()) {
      DeviceFigures device;
      device.multiprocessors = bench.exec().sm_count;
      const StepTime step =
          predict(schedule, {f.cell, act, bench.exec().matmul, T, B, H, true}, device);
      c.predicted_seconds = (backward ? step.backward : step.forward) * s.T * 1e-6;
    }
    if (!backward) {
      f.Wx = c.array(bench, DType::f32, T, B, GH);
      c.body = [exec = bench.exec(), f] { recurrent_forward(exec, f); };
      return;
    }
    RecurrentBackward b{};
    b.cell = f.cell;
    b.schedule = schedule;
    b.dWx = c.array(bench, act, T, B, GH);
    b.dRh = c.array(bench, act, T, B, GH);
    b.dn_c = c.array(bench, act, T, B, H);
    b.dh = c.array(bench, act, T, B, H);
    b.h = f.h;
    b.c = f.c;
    b.saved = f.saved;
    b.R = f.R;
    b.norm = f.norm;
    b.scratch = f.scratch;
    c.body = [exec = bench.exec(), b] { recurrent_backward(exec, b); };
  });
}

}  // namespace

void add_normalize(const Bench& bench) {
  std::vector<Schedule> schedules = {Schedule::automatic};
  if (bench.on_cuda()) schedules = {Schedule::step, Schedule::alternating};
  for (const Shape& s : kShapes) {
    for (const Schedule schedule : schedules)
      for (const bool backward : {false, true}) add_loop(bench, backward, schedule, s);
    const int64_t N = int64_t(s.T) * s.B, D = int64_t(4) * s.H;
    const double elements = double(N * D), es = double(size_of(bench.act()));
    bench.add("layer_norm_forward/" + text_of(s), [=, &bench](Bench::Case& c) {
      LayerNorm a;
      a.y = a.x = c.array(bench, DType::f32, N, D);
      a.x_hat = c.array(bench, bench.act(), N, D);
      a.rstd = c.array(bench, DType::f32, N);
      a.g = c.array(bench, DType::f32, D);
      c.work.bytes = elements * (8 + es);
      c.body = [exec = bench.exec(), a] { layer_norm_forward(exec, a); };
    });
    bench.add("layer_norm_backward/" + text_of(s), [=, &bench](Bench::Case& c) {
      const View2 dy = c.array(bench, bench.act(), N, D);
      const LayerNormBackward a{.dx = dy,
                                .dy = dy,
                                .x_hat = c.array(bench, bench.act(), N, D),
                                .rstd = c.array(bench, DType::f32, N),
                                .g = c.array(bench, DType::f32, D)};
      c.work.bytes = elements * 3 * es;
      c.body = [exec = bench.exec(), a] { layer_norm_backward(exec, a); };
    });
    bench.add("layer_norm_gain_gradient/" + text_of(s), [=, &bench](Bench::Case& c) {
      const LayerNormGain a{.dg = c.array(bench, DType::f32, D),
                            .dy = c.array(bench, bench.act(), N, D),
                            .x_hat = c.array(bench, bench.act(), N, D)};
      c.work.bytes = elements * 2 * es;
      c.body = [exec = bench.exec(), a] { layer_norm_gain_gradient(exec, a); };
    });
  }
}

}  // namespace unroll::bench
