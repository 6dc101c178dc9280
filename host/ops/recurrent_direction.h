// One direction of a recurrent layer on the tape, in the pieces that recurrent_layer.cc puts
// together over the whole chunk and recurrent_wavefront.cc over parts of its time.
#pragma once

#include "host/ops/recurrent_layer.h"
#include "host/ops/weight_drop.h"
#include "kernels/recurrent/recurrent.h"

namespace unroll {

// What backward needs of layer normalisation: of W x, of R h and of c, as in loop_norm.h.
struct NormRun {
  Tensor Wx_hat, Wx_rstd, Rh_hat, Rh_rstd, c_hat, c_rstd;  // Wx_rstd: [K,T*B]
};

// What the directions of a layer share.
struct LayerRun {
  Cell cell;
  View1 lengths;
  Tensor x;
  std::shared_ptr<Var::Slot> dx;
  int64_t T, B, H;
  Schedule schedule;  // that both passes run in: the one asked for, or the one chosen

  LayerRun(const Tape& tape, Cell cell, const RecurrentParams& p, const Var& x,
           const View1& lengths, const LayerOptions& options);
  int64_t GH() const { return info_of(cell).gates * H; }
};

// One direction, with what its backward pass needs of its forward pass.
struct DirectionRun {
  RecurrentParams p;
  bool reverse;
  DroppedWeight dropped;
  StateNoise noise;
  Tensor h, c, saved, h_in, fresh;
  NormRun norm;
  std::shared_ptr<Var::Slot> dy;
};

// Memory of one direction while a pass runs.
struct PassMemory {
  Tensor Wx, dWx, dRh, dN, dn_c, holder;
};

// The arrays of one direction, its carried-in state in place.
DirectionRun begin_direction(Tape& tape, const LayerRun& l, const RecurrentParams& p,
                             const LayerState& state, const View1& keep, bool reverse,
                             const LayerOptions& options);

// Of the whole chunk; the scratch is enough for `steps` steps at a time. Wx is for the caller to
// fill, with project_input.
RecurrentForward forward_args(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                              PassMemory& memory, int64_t steps);
RecurrentBackward backward_args(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                                PassMemory& memory, int64_t steps);

// Of an array that a direction may not have.
inline View3 view3(const Tensor& t) { return t ? t.view<3>() : View3{}; }

// Columns first .. first+count-1 of a matrix.
inline View2 columns(const View2& m, int64_t first, int64_t count) {
  View2 v = m;
  v.data = static_cast<char*>(m.data) + first * int64_t(size_of(m.dtype));
  v.n[1] = count;
  return v;
}

// Wx = x W^T, or dx from dWx, for steps first .. first+count-1. A dx without a view is not wanted.
void project_input(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                   const PassMemory& memory, int64_t first, int64_t count);
void add_input_gradient(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                        const PassMemory& memory, const GradientSink<2>& dx, int64_t first,
                        int64_t count);

// After the backward pass over the whole chunk and a normalised layer's add_norm_gradients: dW, dR
// and db, put aside (Tape::aside).
void add_weight_gradients(Tape& tape, const LayerRun& l, const DirectionRun& d,
                          const PassMemory& memory);

// Of a normalised layer (recurrent_norm.cc): its arrays; the arguments of the loop; LN of Wx in
// place; and after backward the gradients of gains, of b_W, of b_R and of b_c, and the gradient of
// W x in the place of that of LN(W x), which dx needs.
NormRun begin_norm(const Tape& tape, const LayerRun& l);
LoopNorm loop_norm(const Tape& tape, const DirectionRun& d);
void normalise_input(const Tape& tape, const LayerRun& l, const DirectionRun& d,
                     const PassMemory& memory);
void add_norm_gradients(Tape& tape, const LayerRun& l, const DirectionRun& d,
                        const PassMemory& memory);

// What a direction forward in time leaves to the next chunk.
void carry_on(const Tape& tape, const LayerRun& l, const DirectionRun& d, const LayerState& state);

}  // namespace unroll
