// One recurrent layer over a whole chunk, in one direction or in both, with weight drop on its
// recurrent matrix, zoneout and recurrent dropout inside it, and no dropout around it.
//
// Weight drop: kernels/regularize/weight_drop.h. Zoneout, which in evaluation acts in its
// expectation, and recurrent dropout: kernels/recurrent/loop_noise.h. The layer's state is read at
// the start (lanes with keep 0 start from zero) and overwritten at the end; gradients stop at the
// chunk's edge (truncated BPTT).
#pragma once

#include "host/tape/tape.h"
#include "host/train/state.h"
#include "kernels/cells/cells.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

// Weights of one layer in one direction: W [GH,I], R [GH,H], biases [GH] or no parameter. With gains
// the layer is normalised (kernels/recurrent/loop_norm.h): g_W and g_R [GH], and where the cell has
// c, g_c and b_c [H].
struct RecurrentParams {
  Param W, R, b_W, b_R;
  Param g_W{}, g_R{}, g_c{}, b_c{};

  bool normalised() const { return bool(g_R); }
};

// How a layer runs, and what regularises it from inside.
struct LayerOptions {
  double weight_drop = 0;
  double zoneout_h = 0, zoneout_c = 0;  // shares of h and c that keep their values for a step
  double dropout_recurrent = 0;         // share of h_tm1 that R does not see
  bool locked = false;                  // one dropout mask per chunk instead of one per step
  Schedule schedule = Schedule::automatic;
};

// x [T,B,I]; the result is [T,B,H]. keep [B] and lengths [B] are i32 on the device; lengths may be
// left out. In reverse the carried-in state is that of the last step and none is carried on.
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
