#include "host/ops/recurrent_stack.h"

#include "host/ops/dropout.h"
#include "host/ops/linear.h"
#include "host/ops/recurrent_wavefront.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

// For each layer in how many parts it and the next one run at once; 1 where they do not, and for
// the upper one of a pair.
std::vector<WavefrontChoice> wavefronts_of(const Exec& exec, const RecurrentStack& stack, DType act,
                                           int64_t T, int64_t B,
                                           const std::vector<int64_t>& widths) {
  const size_t L = stack.layers.size();
  std::vector<WavefrontChoice> choices(L);
  if (stack.wavefront == Wavefront::off) return choices;
  WavefrontTask task = {stack.wavefront, stack.layer.schedule, stack.cell, act, T, B, 0, 0, ""};
  // Of the sum, and of both layers' masked h.
  task.more_kernels = (stack.residual ? 2 : 0) + (stack.layer.dropout_recurrent > 0 ? 2 : 0);
  if (stack.layers[0].normalised())
    task.obstacle = "layers with layer normalisation do not run in the persistent schedule";
  bool any = false;
  for (size_t l = 0; l + 1 < L; ++l) {
    task.H_lower = widths[l];
    task.H_upper = widths[l + 1];
    choices[l] = choose_wavefront(exec, task);
    if (choices[l].parts == 1) continue;
    any = true;
    ++l;
  }
  if (stack.wavefront == Wavefront::on && !any)
    throw Error(ErrorKind::usage,
                "--wavefront on needs two neighbouring layers of the same width, and there are "
                "none; use --wavefront auto");
  return choices;
}

}  // namespace

Var recurrent_stack(Tape& tape, const RecurrentStack& stack, const Var& x, const State& state,
                    const View1& keep, const View1& lengths) {
  const size_t L = stack.layers.size();
  const int64_t T = x.value().extent(0), B = x.value().extent(1);
  std::vector<int64_t> widths;
  for (const RecurrentParams& p : stack.layers)
    widths.push_back(tape.params().weight(p.R).columns());
  std::vector<WavefrontChoice> wavefronts(L);
  if (T > 1) wavefronts = wavefronts_of(tape.exec(), stack, tape.act(), T, B, widths);
  const auto sums = [&](const Var& in, int64_t H) {
    return stack.residual && in.value().extent(2) == H;
  };
  Var y = x;
  for (size_t l = 0; l < L; ++l) {
    Var in =
        dropout(tape, y, l == 0 ? stack.dropout_input : stack.dropout_hidden, stack.layer.locked);
    if (wavefronts[l].parts > 1) {
      const WavefrontResult both = recurrent_wavefront(tape,
                                                       {.cell = stack.cell,
                                                        .lower = stack.layers[l],
                                                        .upper = stack.layers[l + 1],
                                                        .dropout = stack.dropout_hidden,
                                                        .residual = sums(in, widths[l]),
                                                        .options = stack.layer,
                                                        .parts = wavefronts[l].parts},
                                                       in, state[l], state[l + 1], keep, lengths);
      y = both.y;
      in = both.x_upper;
      ++l;
    } else {
      y = recurrent_layer(tape, stack.cell, stack.layers[l], in, state[l], keep, lengths, false,
                          stack.layer);
    }
    if (sums(in, widths[l])) y = add(tape, y, in);
  }
  return y;
}

std::vector<ScheduleChoice> schedules_of(const Exec& exec, const RecurrentStack& stack, DType act,
                                         int64_t T, int64_t B, const std::vector<int64_t>& widths) {
  std::vector<ScheduleChoice> choices;
  for (const int64_t H : widths)
    choices.push_back(choose_schedule(exec, stack.layer.schedule, stack.cell, act, T, B, H,
                                      stack.layers[0].normalised()));
  if (T == 1) return choices;
  const std::vector<WavefrontChoice> wavefronts = wavefronts_of(exec, stack, act, T, B, widths);
  for (size_t l = 0; l + 1 < widths.size(); ++l) {
    const WavefrontChoice& w = wavefronts[l];
    if (w.reason.empty()) continue;  // decided with the layer below
    choices[l].reason += "; the next layer " +
                         (w.parts > 1 ? "beside it, in " + std::to_string(w.parts) + " parts"
                                      : std::string("after it")) +
                         ": " + w.reason;
  }
  return choices;
}

}  // namespace unroll
