// A recurrent layer over all t, every cell and schedule, forward and backward, input as wide as the
// layer:
//
//   recurrent_forward/CELL/SCHEDULE/SHAPE         the loop alone, with the time the planner predicts
//   recurrent_layer_forward/CELL/SCHEDULE/SHAPE   the same with the products around it
//   recurrent_products_forward/CELL/SHAPE         those products: x W^T; backward dx, dW, dR and
//                                                 the bias gradients
//
// The label of a case says if --schedule auto would take its schedule.
#include "bench/harness/roofline.h"
#include "kernels/base/error.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/planner.h"
#include "kernels/recurrent/recurrent.h"
#include "kernels/recurrent/schedule.h"

namespace unroll::bench {
namespace {

constexpr Cell kCells[] = {
#define UNROLL_CELL(id, Type) Cell::id,
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
};

// Larger layers than the published models': what published recurrent kernels are compared at. On a
// GPU only; a CPU takes minutes.
constexpr Shape kGpuShapes[] = {
    {70, 20, 1150}, {128, 64, 1024}, {256, 128, 2048}, {512, 32, 512}, {1024, 16, 768}};

// Whether the layer can be told to run so on this device.
bool runs(const Bench& bench, Schedule schedule, Cell cell, const Shape& s) {
  try {
    choose_schedule(bench.exec(), schedule, cell, bench.act(), s.T, s.B, s.H);
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::string name_of_case(const std::string& pass, Cell cell, Schedule schedule, const Shape& s) {
  const std::string on_cuda =
      schedule == Schedule::automatic ? "" : std::string(unroll::name_of(schedule)) + "/";
  return pass + "/" + info_of(cell).name + "/" + on_cuda + text_of(s);
}

// What both passes use.
struct Layer {
  int64_t T, B, H, GH, SH;
  View3 h, c, saved;
  View2 R;
  Scratch scratch;

  Layer(const Bench& bench, Bench::Case& place, Cell cell, const Shape& s)
      : T(s.T), B(s.B), H(s.H), GH(info_of(cell).gates * H), SH(info_of(cell).saved * H) {
    h = place.array(bench, bench.act(), T + 1, B, H);
    if (info_of(cell).states == 2) c = place.array(bench, DType::f32, T + 1, B, H);
    if (SH > 0) saved = place.array(bench, bench.act(), T, B, SH);
    R = place.array(bench, bench.act(), GH, H);
    scratch = place.scratch(
        bench, recurrent_scratch_bytes(bench.exec(), cell, bench.act(), s.T, s.B, s.H));
  }
  double flops() const { return 2.0 * double(T) * double(B) * double(GH) * double(H); }
  // States and saved numbers once, R once: it would stay on chip if it could.
  double bytes(Cell cell) const {
    const double es = double(size_of(h.dtype)), units = double(T * B * H);
    return units * (es + (info_of(cell).states == 2 ? 4.0 : 0.0)) + double(T * B * SH) * es +
           double(R.size()) * es;
  }
};

enum class Part { loop, layer, products };

const char* name_of(Part part) {
  return part == Part::loop    ? "recurrent_"
         : part == Part::layer ? "recurrent_layer_"
                               : "recurrent_products_";
}

// What the planner says of the case.
void set_prediction(const Bench& bench, Bench::Case& c, bool backward, Cell cell, Schedule schedule,
                    const Shape& s) {
  if (!bench.on_cuda()) return;
  const Exec exec = bench.exec();
  const StepTime step =
      predict(schedule, {cell, bench.act(), exec.matmul, s.T, s.B, s.H}, device_figures(exec));
  c.predicted_seconds = (backward ? step.backward : step.forward) * s.T * 1e-6;
  const ScheduleChoice automatic =
      choose_schedule(exec, Schedule::automatic, cell, bench.act(), s.T, s.B, s.H);
  c.label = automatic.schedule == schedule ? "auto" : "";
}

void add_forward(const Bench& bench, Part part, Cell cell, Schedule schedule, const Shape& s) {
  const std::string name = name_of_case(name_of(part) + std::string("forward"), cell, schedule, s);
  bench.add(name, [=, &bench](Bench::Case& c) {
    const Layer l(bench, c, cell, s);
    RecurrentForward a{};
    a.cell = cell;
    a.schedule = schedule;
    a.h = l.h;
    a.c = l.c;
    a.saved = l.saved;
    a.Wx = c.array(bench, DType::f32, l.T, l.B, l.GH);
    a.R = l.R;
    a.b_W = c.array(bench, DType::f32, l.GH);
    a.b_R = c.array(bench, DType::f32, l.GH);
    a.scratch = l.scratch;
    c.work = {.bytes = l.bytes(cell) + double(a.Wx.size()) * 4, .flops = l.flops()};
    if (part == Part::loop) {
      set_prediction(bench, c, false, cell, schedule, s);
      c.body = [exec = bench.exec(), a] { recurrent_forward(exec, a); };
      return;
    }
    const View3 x = c.array(bench, bench.act(), l.T, l.B, l.H);
    const View2 W = c.array(bench, bench.act(), l.GH, l.H);
    if (part == Part::layer) c.work.flops *= 2;
    c.body = [=, exec = bench.exec()] {
      gemm(exec, {.C = a.Wx.matrix(), .A = x.matrix(), .B = W, .transpose_B = Transpose::yes});
      if (part == Part::layer) recurrent_forward(exec, a);
    };
  });
}

void add_backward(const Bench& bench, Part part, Cell cell, Schedule schedule, const Shape& s) {
  const std::string name = name_of_case(name_of(part) + std::string("backward"), cell, schedule, s);
  bench.add(name, [=, &bench](Bench::Case& c) {
    const Layer l(bench, c, cell, s);
    RecurrentBackward a{};
    a.cell = cell;
    a.schedule = schedule;
    a.dWx = c.array(bench, bench.act(), l.T, l.B, l.GH);
    if (info_of(cell).split) a.dRh = c.array(bench, bench.act(), l.T, l.B, l.GH);
    a.dh = c.array(bench, bench.act(), l.T, l.B, l.H);
    a.h = l.h;
    a.c = l.c;
    a.saved = l.saved;
    a.R = l.R;
    a.scratch = l.scratch;
    const double es = double(size_of(bench.act()));
    c.work = {.bytes = l.bytes(cell) + double(a.dWx.size() + a.dRh.size() + a.dh.size()) * es,
              .flops = l.flops()};
    if (part == Part::loop) {
      set_prediction(bench, c, true, cell, schedule, s);
      c.body = [exec = bench.exec(), a] { recurrent_backward(exec, a); };
      return;
    }
    RecurrentWeightGradients w{};
    w.cell = cell;
    w.dR = c.array(bench, DType::f32, l.GH, l.H);
    w.db_W = c.array(bench, DType::f32, l.GH);
    w.db_R = c.array(bench, DType::f32, l.GH);
    w.dWx = a.dWx;
    w.dRh = info_of(cell).split ? a.dRh : a.dWx;
    w.h = l.h;
    const View3 x = c.array(bench, bench.act(), l.T, l.B, l.H);
    const View3 dx = c.array(bench, bench.act(), l.T, l.B, l.H);
    const View2 W = c.array(bench, bench.act(), l.GH, l.H);
    const View2 dW = c.array(bench, DType::f32, l.GH, l.H);
    c.work.flops *= part == Part::layer ? 4 : 3;
    c.body = [=, exec = bench.exec()] {
      if (part == Part::layer) recurrent_backward(exec, a);
      recurrent_weight_gradients(exec, w);
      gemm(exec, {.C = dW, .A = a.dWx.matrix(), .B = x.matrix(), .transpose_A = Transpose::yes});
      gemm(exec, {.C = dx.matrix(), .A = a.dWx.matrix(), .B = W});
    };
  });
}

}  // namespace

void add_recurrent(const Bench& bench) {
  const auto add = [&](const Shape& s, Schedule schedule) {
    for (const Cell cell : kCells) {
      if (!runs(bench, schedule, cell, s)) continue;
      for (const Part part : {Part::loop, Part::layer, Part::products}) {
        // The products are the same beside every loop.
        if (part == Part::products && schedule != Schedule::alternating && bench.on_cuda())
          continue;
        const Schedule named = part == Part::products ? Schedule::automatic : schedule;
        add_forward(bench, part, cell, named, s);
        add_backward(bench, part, cell, named, s);
      }
    }
  };
  if (!bench.on_cuda()) {
    if (bench.quick())
      for (const Shape& s : kQuickShapes) add(s, Schedule::automatic);
    else
      for (const Shape& s : kShapes) add(s, Schedule::automatic);
    return;
  }
  for (const Schedule schedule : {Schedule::step, Schedule::persistent, Schedule::alternating}) {
    if (bench.quick()) {
      for (const Shape& s : kQuickShapes) add(s, schedule);
      continue;
    }
    for (const Shape& s : kShapes) add(s, schedule);
    for (const Shape& s : kGpuShapes) add(s, schedule);
  }
}

}  // namespace unroll::bench
