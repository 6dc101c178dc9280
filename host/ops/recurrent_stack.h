// A stack of recurrent layers over a whole chunk, with dropout before each layer, weight drop on
// each recurrent matrix, zoneout and recurrent dropout inside each layer, and optional residual
// sums. Layers may differ in width.
//
//   x_0 = D_i(x)     y_l = RNN_l(x_l) [+ x_l]     x_{l+1} = D_h(y_l)     the result is y_{L-1}
//
// D: dropout, standard or locked, where Zaremba, Sutskever & Vinyals 2014 put it; what follows the
// last layer is the caller's. Weight drop: kernels/regularize/weight_drop.h. Zoneout, which in
// evaluation acts in its expectation, and recurrent dropout: kernels/recurrent/loop_noise.h.
//
// One op to its caller, so that how the layers are scheduled is no business of a model. The layers'
// states are read at the start (lanes with keep 0 start from zero) and overwritten at the end;
// gradients stop at the chunk's edge (truncated BPTT).
#pragma once

#include <vector>

#include "host/ops/recurrent_layer.h"
#include "kernels/recurrent/wavefront.h"

namespace unroll {

struct RecurrentStack {
  Cell cell = Cell::lstm;
  std::vector<RecurrentParams> layers;
  double dropout_input = 0, dropout_hidden = 0;  // before the first layer, and between layers
  LayerOptions layer;     // of every layer; its `locked` is also that of the masks around layers
  bool residual = false;  // where a layer's input and output are equally wide
  // Of neighbouring layers, on chunks of more than one step; others always run one layer after the
  // other.
  Wavefront wavefront = Wavefront::automatic;
};

// x [T,B,I]; the result is [T,B,H], H of the last layer. keep [B] and lengths [B] are i32 on the
// device; lengths may be left out.
Var recurrent_stack(Tape& tape, const RecurrentStack& stack, const Var& x, const State& state,
                    const View1& keep, const View1& lengths);

// How each layer, of the given widths, walks through chunks of this size, and whether the next one
// runs beside it; why, in words for the log. Throws a usage Error where what was asked for cannot
// run.
std::vector<ScheduleChoice> schedules_of(const Exec& exec, const RecurrentStack& stack, DType act,
                                         int64_t T, int64_t B, const std::vector<int64_t>& widths);

}  // namespace unroll
