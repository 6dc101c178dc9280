// One recurrent layer in one direction, over all t.
//
//   for t = 1..T:   s_t = cell(Wx_t + b_W, R h_tm1 + b_R, s_tm1)        s = h, or h and c
//
// The input projection Wx = x W^T is the caller's, one product over all T*B rows. State arrays have
// T+1 slots along time. Forward in time, slot 0 is the carried-in state and slot t+1 holds the
// state after step t; with `reverse`, slot T is the carried-in state and slot t holds the state
// after step t, which runs from T-1 down to 0. So the layer's output is slots 1..T, or 0..T-1 in
// reverse.
//
// With lengths, a lane b holds lengths[b] valid steps: at t >= lengths[b] its state is copied
// through and its gates get no gradient, so in reverse a lane starts at its own last step.
//
// A pass may be a part of a chunk: its arrays are slices, and `first_step` says which of the
// chunk's steps entry 0 is. Lengths, resets and counters of draws are those of the chunk, so that
// parts one after the other do what the whole would. Backward, nothing follows on the last step of
// a pass: for parts see backward_part.h.
//
// Between the steps: resets, zoneout and recurrent dropout, loop_noise.h. Within them: layer
// normalisation of R h and c, loop_norm.h.
//
// Schedules: the CPU loop (reference), and on CUDA those of schedule.h; a schedule that is named and
// cannot run is a usage Error. Cells: kernels/cells. Truncated BPTT as in Williams & Peng 1990.
//
// act: f32, f64 or bf16. acc: f32, or f64 for f64. G, S and whether dRh differs: info_of(cell).
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/cells/cells.h"
#include "kernels/recurrent/loop_noise.h"
#include "kernels/recurrent/loop_norm.h"
#include "kernels/recurrent/schedule.h"
#include "kernels/recurrent/weight_mask.h"

namespace unroll {

struct RecurrentForward {
  Cell cell;
  Schedule schedule = Schedule::automatic;
  bool reverse = false;
  View3 h;          // [T+1,B,H]  act; in: the carried-in slot, out: the others
  View3 c{};        // [T+1,B,H]  acc; likewise; only cells with two states
  View3 saved{};    // [T,B,S*H]  act; out; for backward; not given in evaluation or when S = 0
  View3 h_in{};     // [T,B,H]    act; out: what R multiplied in step t; only if noise.masks_h()
  View3 fresh{};    // [T,B,H]    acc; out; for backward: the cell's last state before its zoneout;
                    //            only if needs_fresh()
  View3 Wx;         // [T,B,G*H]  acc
  View2 R;          // [G*H,H]    act
  View1 b_W{};      // [G*H]      acc; may be left out
  View1 b_R{};      // [G*H]      acc; may be left out
  View1 lengths{};  // [B]      i32, 0..T; may be left out
  int64_t first_step = 0;
  WeightMask mask{};  // of R; only in schedules that take it
  StateNoise noise{};
  LoopNorm norm{};
  Scratch scratch;  // recurrent_scratch_bytes
};
void recurrent_forward(const Exec& exec, const RecurrentForward& args);

// The gradient of the carried-in state is not computed: truncated BPTT cuts it.
struct RecurrentBackward {
  Cell cell;
  Schedule schedule = Schedule::automatic;
  bool reverse = false;
  View3 dWx;        // [T,B,G*H]  act; out: gradient of the pre-activations Wx + b_W
  View3 dRh{};      // [T,B,G*H]  act; out: gradient of R h; only if the cell is split or normalised
  View3 dN{};       // [T,B,G*H]  act; out: gradient of LN(R h); only if split and normalised, where
                    //            dWx is not the same
  View3 dn_c{};     // [T,B,H]    act; out: gradient of LN(c); only if normalised
  View3 dh;         // [T,B,H]    act; in: gradient of the outputs, step t in entry t
  View3 h;          // [T+1,B,H]  act; as forward left it
  View3 c{};        // [T+1,B,H]  acc; as forward left it
  View3 saved{};    // [T,B,S*H]  act
  View3 fresh{};    // [T,B,H]    acc; as forward left it
  View2 R;          // [G*H,H]    act
  View1 lengths{};  // [B]      i32; may be left out
  int64_t first_step = 0;
  WeightMask mask{};   // as in forward
  StateNoise noise{};  // as in forward
  LoopNorm norm{};     // as forward left it
  Scratch scratch;     // recurrent_scratch_bytes
};
void recurrent_backward(const Exec& exec, const RecurrentBackward& args);
// Throws an Error where recurrent_backward would because of an argument, in the name of `op`.
void check_recurrent_backward(const char* op, const Exec& exec, const RecurrentBackward& args);

// Two passes of one cell, schedule and shape, neither of which reads what the other writes: parts of
// two layers of a stack, or the two directions of a layer. In the persistent schedule they are one launch, each on half of the device,
// where a half holds R; otherwise one runs after the other.
void recurrent_forward_pair(const Exec& exec, const RecurrentForward& first,
                            const RecurrentForward& second);
void recurrent_backward_pair(const Exec& exec, const RecurrentBackward& first,
                             const RecurrentBackward& second);

// Whether forward must keep the last state of the cell (h, or c where there is one) as it was
// before zoneout: backward reads it, and a unit that kept its old state has lost it.
inline bool needs_fresh(Cell cell, const StateNoise& noise, bool normalised = false) {
  // LN(c) is kept whole.
  if (normalised && info_of(cell).states == 2) return false;
  return (info_of(cell).states == 2 ? noise.zoneout_c : noise.zoneout_h) > 0;
}

// After recurrent_backward: dR = dRh^T h_tm1 over all steps, one product, and the bias gradients,
// column sums in a fixed order; where noise masks h_tm1, of what forward left in h_in. dW and dx
// are plain products of the caller. Of a normalised layer so are the gradients of gains and biases,
// of dWx, dN, dn_c and what is normalised (layer_norm_gain_gradient, column_sum).
struct RecurrentWeightGradients {
  Cell cell;
  bool reverse = false;
  View2 dR;      // [G*H,H]    acc
  View1 db_W{};  // [G*H]      acc; may be left out
  View1 db_R{};  // [G*H]      acc; may be left out
  Accumulate to_dR = Accumulate::overwrite, to_db_W = Accumulate::overwrite,
             to_db_R = Accumulate::overwrite;
  View3 dWx;     // [T,B,G*H]  act
  View3 dRh{};   // [T,B,G*H]  act; left out: dWx
  View3 h;       // [T+1,B,H]  act
  View3 h_in{};  // [T,B,H]  act; as forward left it; only if noise.masks_h()
};
void recurrent_weight_gradients(const Exec& exec, const RecurrentWeightGradients& args);

// Scratch of either pass in any schedule; act as in the views.
size_t recurrent_scratch_bytes(const Exec& exec, Cell cell, DType act, int T, int B, int H,
                               bool normalised = false);

namespace cpu {
void recurrent_forward(const Exec& exec, const RecurrentForward& args);
void recurrent_backward(const Exec& exec, const RecurrentBackward& args);
// Step i of a layer with layer normalisation, all but its product (loop_norm_step.h).
void normed_forward_step(const RecurrentForward& args, const View2& Rh, int64_t i);
void normed_backward_step(const RecurrentBackward& args, const View2& from_R, int64_t i);
}  // namespace cpu
namespace cuda {
// What R multiplies in the first step that runs: the carried-in h, or where noise masks it the
// entry of args.h_in, which this writes.
View2 first_input(const Exec& exec, const RecurrentForward& args);
void alternating_forward(const Exec& exec, const RecurrentForward& args);
void alternating_backward(const Exec& exec, const RecurrentBackward& args);
}  // namespace cuda

}  // namespace unroll
