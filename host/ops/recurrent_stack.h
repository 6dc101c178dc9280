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

#include "host/tape/tape.h"
#include "host/train/state.h"
#include "kernels/cells/cells.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

// Weights of one layer in one direction: W [GH,I], R [GH,H], biases [GH] or no parameter.
struct RecurrentParams {
  Param W, R, b_W, b_R;
};

// How a layer runs, and what regularises it from inside.
struct LayerOptions {
  double weight_drop = 0;
  double zoneout_h = 0, zoneout_c = 0;  // shares of h and c that keep their values for a step
  double dropout_recurrent = 0;         // share of h_tm1 that R does not see
  bool locked = false;                  // one dropout mask per chunk instead of one per step
  Schedule schedule = Schedule::automatic;

  bool noise() const { return zoneout_h > 0 || zoneout_c > 0 || dropout_recurrent > 0; }
};

struct RecurrentStack {
  Cell cell = Cell::lstm;
  std::vector<RecurrentParams> layers;
  double dropout_input = 0, dropout_hidden = 0;  // before the first layer, and between layers
  LayerOptions layer;     // of every layer; its `locked` is also that of the masks around layers
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
                    bool reverse = false, const LayerOptions& options = {});

// Both directions over the same input, side by side: [T,B,2H], forward first. In the persistent
// schedule they run in one launch where they fit (recurrent_forward_pair). Not for language
// models: the reverse direction sees the words to be predicted.
Var bidirectional_layer(Tape& tape, Cell cell, const RecurrentParams& forward,
                        const RecurrentParams& reverse, const Var& x, const LayerState& state,
                        const LayerState& reverse_state, const View1& keep, const View1& lengths,
                        const LayerOptions& options = {});

}  // namespace unroll
