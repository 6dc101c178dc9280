// The CUDA kernels of a layer with layer normalisation: all of step i but its product, in one kernel
// with a block to each lane.
#pragma once

#include "kernels/recurrent/recurrent.h"

namespace unroll::cuda {

// How such a kernel stands among those around it.
struct NormLaunch {
  // Where the next product finds its vector in the order of step_product.cuh; null: it reads the
  // arrays of the pass.
  void* mail = nullptr;
  bool early_start = false;  // gpu::Launch
  // Shared memory that a block may take for what it reads more than once or ahead of its turn. A
  // lane that needs more reads it from where it is.
  size_t stage_bytes = 96 * 1024;
};

// Rh: [B,G*H] acc, R h_tm1. from_R: [B,H] acc, R^T dRh of the step after this one where it is still
// to be masked; not given: the carried gradient holds it.
void normed_forward_step(const Exec& exec, const RecurrentForward& args, const View2& Rh, int64_t i,
                         const NormLaunch& launch = {});
void normed_backward_step(const Exec& exec, const RecurrentBackward& args, const View2& from_R,
                          int64_t i, const NormLaunch& launch = {});

}  // namespace unroll::cuda
