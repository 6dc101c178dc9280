#include "host/ops/recurrent_wavefront.h"

#include "host/ops/persistent_watch.h"
#include "host/ops/recurrent_direction.h"
#include "kernels/elementwise/add.h"
#include "kernels/elementwise/dropout.h"
#include "kernels/recurrent/backward_part.h"
#include "kernels/recurrent/wavefront.h"

namespace unroll {
namespace {

// One of the two layers.
struct Side {
  LayerRun l;
  DirectionRun d;
};

// What stands between the layers, of some steps.
struct Between {
  bool sums;  // the lower layer's input is added to its output
  double p;   // 0: nothing is dropped, what one layer gives the other gets
  bool locked;
  MaskKey key;

  bool drops() const { return p > 0; }
  // to = h + x, as add() has it; nothing without the sum, where `to` is h.
  void sum(const Exec& exec, const View3& to, const View3& h, const View3& x,
           const Steps& s) const {
    if (!sums) return;
    const View2 y = to.slice(s.first, s.count).matrix();
    add_scaled(exec, {.y = y, .x = h.slice(s.first, s.count).matrix()});
    add_scaled(exec, {.y = y, .x = x.slice(s.first, s.count).matrix(), .to_y = Accumulate::add});
  }
  // Dropout, in either direction.
  void map(const Exec& exec, const View3& to, const View3& from, const Steps& s) const {
    if (drops())
      dropout(exec, {.y = to.slice(s.first, s.count),
                     .x = from.slice(s.first, s.count),
                     .p = p,
                     .locked = locked,
                     .key = key,
                     .first_step = s.first});
  }
};

// A part of a pass: it begins with the slot where the part before it ended.
RecurrentForward part_of(RecurrentForward a, const Steps& s) {
  a.h = a.h.slice(s.first, s.count + 1);
  a.c = a.c.slice(s.first, s.count + 1);
  for (View3* of_steps : {&a.saved, &a.h_in, &a.fresh, &a.Wx})
    *of_steps = of_steps->slice(s.first, s.count);
  a.first_step = s.first;
  return a;
}

// y: what the lower layer gives, its sum with its input where there is one.
void forward(const Tape& tape, const Side& lower, const Side& upper, const Between& between,
             const View3& y, int64_t P) {
  const Exec& exec = tape.exec();
  const int64_t T = lower.l.T, longest = lower_part(T, P, 0).count;
  PassMemory lower_memory, upper_memory;
  const RecurrentForward first = forward_args(tape, lower.l, lower.d, lower_memory, longest);
  const RecurrentForward second = forward_args(tape, upper.l, upper.d, upper_memory, longest);
  project_input(tape, lower.l, lower.d, lower_memory, 0, T);
  tape.part("products");
  const auto watch_lower = [&](int64_t k) {
    watch_pass(tape, lower.d, part_of(first, lower_part(T, P, k)));
  };
  recurrent_forward(exec, part_of(first, lower_part(T, P, 0)));
  tape.part("loop");
  watch_lower(0);
  for (int64_t k = 0; k < P; ++k) {
    const Steps s = upper_part(T, P, k);
    between.sum(exec, y, lower.d.h.slice(1, T).view<3>(), view3(lower.l.x), s);
    between.map(exec, upper.l.x.view<3>(), y, s);
    tape.part("between layers");
    project_input(tape, upper.l, upper.d, upper_memory, s.first, s.count);
    tape.part("products");
    if (k + 1 < P) {
      recurrent_forward_pair(exec, part_of(first, lower_part(T, P, k + 1)), part_of(second, s));
      watch_lower(k + 1);
    } else {
      recurrent_forward(exec, part_of(second, s));
    }
    tape.part("loop");
    watch_pass(tape, upper.d, part_of(second, s));
  }
}

RecurrentBackward part_of(RecurrentBackward a, const Steps& s) {
  a.h = a.h.slice(s.first, s.count + 1);
  a.c = a.c.slice(s.first, s.count + 1);
  for (View3* of_steps : {&a.dWx, &a.dRh, &a.dh, &a.saved, &a.fresh})
    *of_steps = of_steps->slice(s.first, s.count);
  a.first_step = s.first;
  return a;
}

// The gradients of one layer on their way from part to part.
struct BackwardSide {
  PassMemory memory;
  RecurrentBackward whole;
  Tensor past_R;

  BackwardSide(const Tape& t, const Side& side, int64_t longest)
      : whole(backward_args(t, side.l, side.d, memory, longest)),
        past_R(t.tensor(t.acc(), {2, side.l.B, side.l.H})) {}
  BackwardCarry carry(const Steps& s) const {
    const int64_t end = s.first + s.count;
    return {.dRh_next = end < whole.dh.n[0] ? whole.dRh.at(end) : View2{},
            .past_R = past_R.view<3>()};
  }
};

// From the last part to the first, the upper layer ahead.
void backward(Tape& t, const Side& lower, const Side& upper, const Between& between, int64_t P) {
  const Exec& exec = t.exec();
  const int64_t T = lower.l.T, longest = lower_part(T, P, 0).count;
  const GradientSink<2> dx = t.gradient_sink(upper.l.dx);
  if (between.drops()) t.gradient_sink(lower.d.dy);  // its memory; parts are written as they come
  const View3 dx_upper = t.gradient(upper.l.dx).view<3>(), dy = t.gradient(lower.d.dy).view<3>();
  BackwardSide first(t, lower, longest), second(t, upper, longest);
  const Steps last = upper_part(T, P, P - 1);
  recurrent_backward_part(exec, part_of(second.whole, last), second.carry(last));
  t.part("loop");
  watch_pass(t, upper.d, part_of(second.whole, last));
  for (int64_t k = P - 1; k >= 0; --k) {
    const Steps done = upper_part(T, P, k), s = lower_part(T, P, k);
    add_input_gradient(t, upper.l, upper.d, second.memory, dx, done.first, done.count);
    t.part("products");
    between.map(exec, dy, dx_upper, done);
    t.part("between layers");
    if (k > 0) {
      const Steps ahead = upper_part(T, P, k - 1);
      recurrent_backward_part_pair(exec, part_of(first.whole, s), first.carry(s),
                                   part_of(second.whole, ahead), second.carry(ahead));
      watch_pass(t, upper.d, part_of(second.whole, ahead));
    } else {
      second.memory.holder = Tensor();
      add_weight_gradients(t, upper.l, upper.d, second.memory);
      t.part("products");
      recurrent_backward_part(exec, part_of(first.whole, s), first.carry(s));
    }
    t.part("loop");
    watch_pass(t, lower.d, part_of(first.whole, s));
  }
  first.memory.holder = Tensor();
  if (between.sums) {
    const GradientSink<2> dx_lower = t.gradient_sink(lower.l.dx);
    if (dx_lower.view)
      add_scaled(exec, {.y = dx_lower.view, .x = dy.matrix(), .to_y = dx_lower.mode});
  }
  add_input_gradient(t, lower.l, lower.d, first.memory, t.gradient_sink(lower.l.dx), 0, T);
  add_weight_gradients(t, lower.l, lower.d, first.memory);
  t.part("products");
}

}  // namespace

WavefrontResult recurrent_wavefront(Tape& tape, const WavefrontLayers& w, const Var& x,
                                    const LayerState& lower_state, const LayerState& upper_state,
                                    const View1& keep, const View1& lengths) {
  LayerOptions options = w.options;
  options.schedule = Schedule::persistent;  // a part alone might be predicted to run in another
  const auto begin = [&](const RecurrentParams& p, const Var& in, const LayerState& state) {
    const LayerRun l(tape, w.cell, p, in, lengths, options);
    return Side{l, begin_direction(tape, l, p, state, keep, false, options)};
  };
  // Masks are named in the order in which one layer after the other would name them.
  Side lower = begin(w.lower, x, lower_state);
  Between between = {w.residual, tape.mode().noise ? w.dropout : 0, options.locked, {}};
  // The gradient of the sum is that of the layer's output as well.
  const Tensor h_lower = lower.d.h.slice(1, lower.l.T);
  const Var y_lower = tape.var(between.sums ? h_lower.like(tape.arena()) : h_lower);
  lower.d.dy = y_lower.slot();
  Var x_upper = y_lower;
  if (between.drops()) {
    between.key = tape.next_mask_key();
    x_upper = tape.var(h_lower.like(tape.arena()));
  }
  Side upper = begin(w.upper, x_upper, upper_state);
  const Var y = tape.var(upper.d.h.slice(1, upper.l.T));
  upper.d.dy = y.slot();
  forward(tape, lower, upper, between, y_lower.sequence(), w.parts);
  carry_on(tape, lower.l, lower.d, lower_state);
  carry_on(tape, upper.l, upper.d, upper_state);
  tape.record("recurrent_wavefront",
              [=, P = w.parts](Tape& t) { backward(t, lower, upper, between, P); });
  return {y, x_upper};
}

}  // namespace unroll
