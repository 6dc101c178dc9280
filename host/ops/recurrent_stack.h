// A stack of recurrent layers over a whole chunk, with dropout before each layer and after the
// last, and optional residual sums.
//
//   x_0 = D(x)     x_{l+1} = D( RNN_l(x_l) [+ x_l] )     D: dropout, standard or locked
//                                                        Zaremba, Sutskever & Vinyals 2014
//
// One op to its caller, so that how the layers are scheduled is no business of a model. The layers'
// states are read at the start (lanes with keep 0 start from zero) and overwritten at the end;
// gradients stop at the chunk's edge (truncated BPTT).
#pragma once

#include <vector>

#include "host/tape/tape.h"
#include "host/train/state.h"
#include "kernels/cells/cells.h"

namespace unroll {

// Weights of one layer in one direction: W [GH,I], R [GH,H], biases [GH] or no parameter.
struct RecurrentParams {
  Param W, R, b_W, b_R;
};

struct RecurrentStack {
  Cell cell = Cell::lstm;
  std::vector<RecurrentParams> layers;
  double dropout = 0;
  bool locked = false;    // one mask per chunk instead of one per step
  bool residual = false;  // where a layer's input and output are equally wide
};

// x [T,B,I]; the result is [T,B,H]. keep [B] and lengths [B] are i32 on the device; lengths may be
// left out.
Var recurrent_stack(Tape& tape, const RecurrentStack& stack, const Var& x, const State& state,
                    const View1& keep, const View1& lengths);

// One layer in one direction, without dropout: what the stack is made of. In reverse the carried-in
// state is that of the last step and none is carried on.
Var recurrent_layer(Tape& tape, Cell cell, const RecurrentParams& params, const Var& x,
                    const LayerState& state, const View1& keep, const View1& lengths,
                    bool reverse = false);

// Both directions over the same input, side by side: [T,B,2H], forward first. Not for language
// models: the reverse direction sees the words to be predicted.
Var bidirectional_layer(Tape& tape, Cell cell, const RecurrentParams& forward,
                        const RecurrentParams& reverse, const Var& x, const LayerState& state,
                        const LayerState& reverse_state, const View1& keep, const View1& lengths);

}  // namespace unroll
