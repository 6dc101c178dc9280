#include "host/ops/recurrent_layer.h"

#include <array>

#include "host/ops/persistent_watch.h"
#include "host/ops/recurrent_direction.h"
#include "kernels/elementwise/add.h"

namespace unroll {
namespace {

// One direction, or two at once; their outputs.
std::vector<Var> run(Tape& tape, const LayerRun& l, std::vector<DirectionRun> all) {
  const bool pair = all.size() == 2;
  {
    PassMemory memory[2];
    std::vector<RecurrentForward> passes;
    for (size_t i = 0; i < all.size(); ++i) {
      passes.push_back(forward_args(tape, l, all[i], memory[i], l.T));
      project_input(tape, l, all[i], memory[i], 0, l.T);
      if (all[i].p.normalised()) normalise_input(tape, l, all[i], memory[i]);
    }
    tape.part("products");
    if (pair)
      recurrent_forward_pair(tape.exec(), passes[0], passes[1]);
    else
      recurrent_forward(tape.exec(), passes[0]);
    tape.part("loop");
    for (size_t i = 0; i < all.size(); ++i) watch_pass(tape, all[i], passes[i]);
  }
  std::vector<Var> outputs;
  for (DirectionRun& d : all) {
    outputs.push_back(tape.var(d.h.slice(d.reverse ? 0 : 1, l.T)));
    d.dy = outputs.back().slot();
  }
  tape.record("recurrent", [=](Tape& t) {
    PassMemory memory[2];
    std::vector<RecurrentBackward> passes;
    for (size_t i = 0; i < all.size(); ++i)
      passes.push_back(backward_args(t, l, all[i], memory[i], l.T));
    if (pair)
      recurrent_backward_pair(t.exec(), passes[0], passes[1]);
    else
      recurrent_backward(t.exec(), passes[0]);
    t.part("loop");
    for (size_t i = 0; i < all.size(); ++i) watch_pass(t, all[i], passes[i]);
    for (PassMemory& m : memory) m.holder = Tensor();
    // dx first: the layer below waits for it.
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i].p.normalised()) add_norm_gradients(t, l, all[i], memory[i]);
      add_input_gradient(t, l, all[i], memory[i], t.gradient_sink(l.dx), 0, l.T);
    }
    for (size_t i = 0; i < all.size(); ++i) add_weight_gradients(t, l, all[i], memory[i]);
    t.part("products");
  });
  return outputs;
}

}  // namespace

Var recurrent_layer(Tape& tape, Cell cell, const RecurrentParams& p, const Var& x,
                    const LayerState& state, const View1& keep, const View1& lengths, bool reverse,
                    const LayerOptions& options) {
  const LayerRun l(tape, cell, p, x, lengths, options);
  const DirectionRun d = begin_direction(tape, l, p, state, keep, reverse, options);
  const Var y = run(tape, l, {d})[0];
  if (!reverse) carry_on(tape, l, d, state);
  return y;
}

Var bidirectional_layer(Tape& tape, Cell cell, const RecurrentParams& forward,
                        const RecurrentParams& reverse, const Var& x, const LayerState& state,
                        const LayerState& reverse_state, const View1& keep, const View1& lengths,
                        const LayerOptions& options) {
  const LayerRun l(tape, cell, forward, x, lengths, options);
  const std::vector<DirectionRun> both = {
      begin_direction(tape, l, forward, state, keep, false, options),
      begin_direction(tape, l, reverse, reverse_state, keep, true, options)};
  const std::vector<Var> directions = run(tape, l, both);
  carry_on(tape, l, both[0], state);
  const int64_t H = l.H;
  Var y = tape.var(tape.tensor(tape.act(), {l.T, l.B, 2 * H}));
  for (int d = 0; d < 2; ++d)
    add_scaled(tape.exec(), {.y = columns(y.matrix(), d * H, H), .x = directions[d].matrix()});
  tape.record(
      "join_directions",
      [H, dy = y.slot(), slots = std::array{directions[0].slot(), directions[1].slot()}](Tape& t) {
        int64_t first = 0;
        for (const auto& slot : slots) {
          const GradientSink<2> sink = t.gradient_sink(slot);
          add_scaled(
              t.exec(),
              {.y = sink.view, .x = columns(t.gradient(dy).matrix(), first, H), .to_y = sink.mode});
          first += H;
        }
      });
  return y;
}

}  // namespace unroll
