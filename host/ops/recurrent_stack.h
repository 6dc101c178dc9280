// A stack of recurrent layers over a whole chunk, with dropout before each layer, weight drop on
// each recurrent matrix, and optional residual sums. Layers may differ in width.
//
//   x_0 = D_i(x)     y_l = RNN_l(x_l) [+ x_l]     x_{l+1} = D_h(y_l)     the result is y_{L-1}
//
// D: dropout, standard or locked, where Zaremba, Sutskever & Vinyals 2014 put it; what follows the
// last layer is the caller's. Weight drop: kernels/regularize/weight_drop.h.
//
// One op to its caller, so that how the layers are scheduled is no business of a model. The layers'
// states are read at the start (lanes with keep 0 start from zero) and overwritten at the end;
// gradients stop at the chunk's edge (truncated BPTT).
#pragma once

#include <vector>

#include "host/tape/tape.h"
#include "host/train/state.h"
#include "kernels/cells/cells.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

// Weights of one layer in one direction: W [GH,I], R [GH,H], biases [GH] or no parameter.
struct RecurrentParams {
  Param W, R, b_W, b_R;
};

struct RecurrentStack {
  Cell cell = Cell::lstm;
  std::vector<RecurrentParams> layers;
  double dropout_input = 0, dropout_hidden = 0;  // before the first layer, and between layers
  double weight_drop = 0;
  Schedule schedule = Schedule::automatic;
  bool locked = false;    // one dropout mask per chunk instead of one per step
  bool residual = false;  // where a layer's input and output are equally wide
};

// x [T,B,I]; the result is [T,B,H], H of the last layer. keep [B] and lengths [B] are i32 on the
// device; lengths may be left out.
Var recurrent_stack(Tape& tape, const RecurrentStack& stack, const Var& x, const State& state,
                    const View1& keep, const View1& lengths);

// One layer in one direction, without dropout around it: what the stack is made of. In reverse the
// carried-in state is that of the last step and none is carried on.
Var recurrent_layer(Tape& tape, Cell cell, const RecurrentParams& params, const Var& x,
                    const LayerState& state, const View1& keep, const View1& lengths,
                    bool reverse = false, double weight_drop = 0,
                    Schedule schedule = Schedule::automatic);

// Both directions over the same input, side by side: [T,B,2H], forward first. Not for language
// models: the reverse direction sees the words to be predicted.
Var bidirectional_layer(Tape& tape, Cell cell, const RecurrentParams& forward,
                        const RecurrentParams& reverse, const Var& x, const LayerState& state,
                        const LayerState& reverse_state, const View1& keep, const View1& lengths);

}  // namespace unroll
