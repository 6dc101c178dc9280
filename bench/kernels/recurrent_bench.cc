// A recurrent layer over all t, every cell, forward and backward.
#include "bench/harness/roofline.h"
#include "kernels/recurrent/recurrent.h"

namespace unroll::bench {
namespace {

constexpr Cell kCells[] = {
#define UNROLL_CELL(id, Type) Cell::id,
#include "kernels/cells/cells.def"
#undef UNROLL_CELL
};

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

void add_forward(const Bench& bench, Cell cell, const Shape& s) {
  const std::string name =
      std::string("recurrent_forward/") + info_of(cell).name + "/" + text_of(s);
  bench.add(name, [=, &bench](Bench::Case& c) {
    const Layer l(bench, c, cell, s);
    RecurrentForward a{};
    a.cell = cell;
    a.h = l.h;
    a.c = l.c;
    a.saved = l.saved;
    a.Wx = c.array(bench, DType::f32, l.T, l.B, l.GH);
    a.R = l.R;
    a.b_W = c.array(bench, DType::f32, l.GH);
    a.b_R = c.array(bench, DType::f32, l.GH);
    a.scratch = l.scratch;
    c.work = {.bytes = l.bytes(cell) + double(a.Wx.size()) * 4, .flops = l.flops()};
    c.body = [exec = bench.exec(), a] { recurrent_forward(exec, a); };
  });
}

void add_backward(const Bench& bench, Cell cell, const Shape& s) {
  const std::string name =
      std::string("recurrent_backward/") + info_of(cell).name + "/" + text_of(s);
  bench.add(name, [=, &bench](Bench::Case& c) {
    const Layer l(bench, c, cell, s);
    RecurrentBackward a{};
    a.cell = cell;
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
    c.body = [exec = bench.exec(), a] { recurrent_backward(exec, a); };
  });
}

}  // namespace

void add_recurrent(const Bench& bench) {
  for (const Shape& s : kShapes)
    for (const Cell cell : kCells) {
      add_forward(bench, cell, s);
      add_backward(bench, cell, s);
    }
}

}  // namespace unroll::bench
