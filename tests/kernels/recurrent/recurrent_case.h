// One recurrent layer on a device beside its oracle: cases, inputs, buffers and calls.
#pragma once

#include <optional>
#include <ostream>

#include "kernels/recurrent/recurrent.h"
#include "tests/harness/tolerances.h"
#include "tests/oracle/recurrent.h"

namespace unroll::test {

struct RecurrentCase {
  int T, B, H;
  bool reverse, with_lengths, with_b_W, with_b_R;
  int64_t pad;
};
// Every schedule that a target can be told to run.
inline std::vector<Schedule> schedules(const Target& target) {
  if (target.device == DeviceKind::cpu) return {Schedule::automatic};
  return {Schedule::alternating, Schedule::step, Schedule::persistent};
}

inline std::ostream& operator<<(std::ostream& out, const RecurrentCase& c) {
  return out << "T " << c.T << " B " << c.B << " H " << c.H << (c.reverse ? " reverse" : "")
             << (c.with_lengths ? " lengths" : "") << (c.with_b_W ? " b_W" : "")
             << (c.with_b_R ? " b_R" : "") << " pad " << c.pad;
}

// Pairwise over direction, lengths, biases and padding; odd sizes; one with enough lanes and steps
// for packed weights.
constexpr RecurrentCase kRecurrentCases[] = {
    {1, 1, 13, false, false, true, true, 0}, {5, 3, 37, false, true, true, false, 3},
    {4, 2, 8, true, false, false, false, 0}, {7, 5, 40, true, true, true, true, 8},
    {3, 4, 1, false, false, false, true, 1}, {4, 8, 17, false, true, true, true, 7},
    {2, 1, 37, true, true, false, true, 0},
};

// Inputs, rounded to the target's types, in the oracle's form. `forward()` is still to be called.
inline oracle::Layer<double> random_layer(Cell cell, const RecurrentCase& c, const Target& target) {
  const int GH = info_of(cell).gates * c.H;
  // The rectifier's inputs stay away from its kink, where rounding would decide a derivative.
  const bool kinked = cell == Cell::relu;
  const double r_scale = kinked ? 0.3 / c.H : 1.5 / std::sqrt(double(c.H));
  const double b_scale = kinked ? 0.05 : 0.5;
  oracle::Layer<double> layer{.cell = cell, .T_ = c.T, .B = c.B, .H = c.H, .reverse = c.reverse};
  layer.Wx = random_values(int64_t(c.T) * c.B * GH, target.acc(), 1);
  if (kinked)
    for (double& x : layer.Wx) x = rounded(x < 0 ? x / 2 - 0.5 : x / 2 + 0.5, target.acc());
  layer.R = random_values(int64_t(GH) * c.H, target.act, 2, r_scale);
  if (c.with_b_W) layer.b_W = random_values(GH, target.acc(), 3, b_scale);
  if (c.with_b_R) layer.b_R = random_values(GH, target.acc(), 4, b_scale);
  layer.h = random_values(int64_t(c.T + 1) * c.B * c.H, target.act, 5, 0.9);
  layer.c = random_values(int64_t(c.T + 1) * c.B * c.H, target.acc(), 6);
  if (c.with_lengths)
    for (int b = 0; b < c.B; ++b)
      layer.lengths.push_back((c.T + 2 * b) % (c.T + 1));  // T and 0 too
  return layer;
}

// The largest sum over steps and lanes of |d|, row by row: what a bias gradient's rounding is
// relative to, and, as |h| < 1 but for relu, nearly a recurrent weight gradient's.
inline double terms_magnitude(const std::vector<double>& d, size_t rows,
                              const std::vector<double>& h) {
  std::vector<double> sums(rows, 0.0);
  for (size_t i = 0; i < d.size(); ++i) sums[i % rows] += std::abs(d[i]);
  double largest = 1;
  for (double x : h) largest = std::max(largest, std::abs(x));
  return *std::max_element(sums.begin(), sums.end()) * largest;
}

// The device's side. Everything that an op must write starts as NaN.
class RecurrentArrays {
 public:
  const Backend& backend;
  const oracle::Layer<double>& layer;
  const int64_t T, B, H, GH, SH;
  const bool two_states, split;
  const Schedule schedule;
  Array<3> h, c, saved, Wx, dWx, dRh, dh;
  Array<2> R, dR;
  Array<1> b_W, b_R, lengths, db_W, db_R, scratch, poison;

  RecurrentArrays(const Backend& backend, const oracle::Layer<double>& a, const Target& t,
                  int64_t pad, Schedule schedule = Schedule::automatic)
      : backend(backend),
        layer(a),
        T(a.T_),
        B(a.B),
        H(a.H),
        GH(a.G() * a.H),
        SH(info_of(a.cell).saved * a.H),
        two_states(info_of(a.cell).states == 2),
        split(info_of(a.cell).split),
        schedule(schedule),
        h(backend, t.act, {T + 1, B, H}, pad),
        c(backend, t.acc(), {T + 1, B, H}, pad),
        saved(backend, t.act, {T, B, std::max<int64_t>(SH, 1)}, pad),
        Wx(backend, t.acc(), {T, B, GH}, pad),
        dWx(backend, t.act, {T, B, GH}, pad),
        dRh(backend, t.act, {T, B, GH}, pad),
        dh(backend, t.act, {T, B, H}, pad),
        R(backend, t.act, {GH, H}, pad),
        dR(backend, t.acc(), {GH, H}, pad),
        b_W(backend, t.acc(), {GH}),
        b_R(backend, t.acc(), {GH}),
        lengths(backend, DType::i32, {B}),
        db_W(backend, t.acc(), {GH}),
        db_R(backend, t.acc(), {GH}),
        scratch(backend, DType::u8,
                {int64_t(recurrent_scratch_bytes(backend.exec(), a.cell, t.act, int(T), int(B),
                                                 int(H)))}),
        poison(backend, DType::u8, {scratch.view.n[0]}) {
    Wx.fill(a.Wx);
    R.fill(a.R);
    if (!a.b_W.empty()) b_W.fill(a.b_W);
    if (!a.b_R.empty()) b_R.fill(a.b_R);
    if (!a.lengths.empty()) lengths.fill(std::vector<double>(a.lengths.begin(), a.lengths.end()));
    carry_in(h, a.h);
    carry_in(c, a.c);
  }

  RecurrentForward forward_args(bool save = true) {
    return {.cell = layer.cell,
            .schedule = schedule,
            .reverse = layer.reverse,
            .h = h,
            .c = two_states ? c.view : View3{},
            .saved = save && SH > 0 ? saved.view : View3{},
            .Wx = Wx,
            .R = R,
            .b_W = layer.b_W.empty() ? View1{} : b_W.view,
            .b_R = layer.b_R.empty() ? View1{} : b_R.view,
            .lengths = layer.lengths.empty() ? View1{} : lengths.view,
            .scratch = scratch_bytes()};
  }
  RecurrentBackward backward_args() {
    return {.cell = layer.cell,
            .schedule = schedule,
            .reverse = layer.reverse,
            .dWx = dWx,
            .dRh = split ? dRh.view : View3{},
            .dh = dh,
            .h = h,
            .c = two_states ? c.view : View3{},
            .saved = SH > 0 ? saved.view : View3{},
            .R = R,
            .lengths = layer.lengths.empty() ? View1{} : lengths.view,
            .scratch = scratch_bytes()};
  }
  RecurrentWeightGradients weight_args(Accumulate mode) {
    return {.cell = layer.cell,
            .reverse = layer.reverse,
            .dR = dR,
            .db_W = layer.b_W.empty() ? View1{} : db_W.view,
            .db_R = layer.b_R.empty() ? View1{} : db_R.view,
            .to_dR = mode,
            .to_db_W = mode,
            .to_db_R = mode,
            .dWx = dWx,
            .dRh = split ? dRh.view : View3{},
            .h = h};
  }
  // The scratch, poisoned anew before every call.
  Scratch scratch_bytes() {
    const size_t bytes = size_t(scratch.view.n[0]);
    backend.stream().copy(scratch.view.data, poison.view.data, bytes);
    return {scratch.view.data, bytes};
  }

 private:
  // Only the slot that comes before the first step is given.
  void carry_in(Array<3>& to, const std::vector<double>& states) {
    std::vector<double> values(states.size(), std::numeric_limits<double>::quiet_NaN());
    const size_t slot = size_t(B * H), first = layer.reverse ? size_t(T) * slot : 0;
    std::copy_n(states.begin() + long(first), slot, values.begin() + long(first));
    to.fill(values);
  }
};

class RecurrentTest : public OnTargets {
 protected:
  // Calls body(cell, case, schedule) for every cell, case and schedule.
  template <class Body>
  void for_all(const Body& body) {
    for_all_with(body, 0);
  }
  // The same with all cases for the first schedule only, and the largest for the others.
  template <class Body>
  void for_large(const Body& body) {
    for_all_with(body, 40);
  }

 private:
  template <class Body>
  void for_all_with(const Body& body, int least_H) {
    const std::vector<Schedule> all = schedules(GetParam());
    for (const Schedule schedule : all)
      for (Cell cell : oracle::kAllCells)
        for (const RecurrentCase& c : kRecurrentCases) {
          if (schedule != all.front() && c.H < least_H) continue;
          SCOPED_TRACE(testing::Message()
                       << info_of(cell).name << " " << name_of(schedule) << " " << c);
          body(cell, c, schedule);
        }
  }
};

}  // namespace unroll::test
