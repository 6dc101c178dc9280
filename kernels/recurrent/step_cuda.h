// The fused-step schedule: per step one kernel that multiplies by R and applies the cell. A kernel
// fetches its part of R while the step before is still running (gpu::Launch::early_start), so that
// on sm_90 most of the traffic of R is hidden. With layer normalisation a step is two such kernels.
#pragma once

#include "kernels/recurrent/recurrent.h"

namespace unroll {

// The kernel's own copies of its operands, in the order in which tensor cores take them
// (step_product.cuh), padded with zeros to whole tiles: R for one pass, and the two vectors that
// steps hand to each other, h or dRh, one written while the other is read.
struct StepScratch {
  void* weights;
  void* mail[2];
  float *carried_h, *carried_c;  // [B,H]  backward
  size_t bytes;
};
StepScratch step_scratch(void* base, Cell cell, DType act, int64_t B, int64_t H, bool backward);

// Of either pass.
size_t step_scratch_bytes(Cell cell, DType act, int64_t B, int64_t H);

namespace cuda {
void step_forward(const Exec& exec, const RecurrentForward& args);
void step_backward(const Exec& exec, const RecurrentBackward& args);
// The same of a layer with layer normalisation (step_norm_cuda.cu).
void step_norm_forward(const Exec& exec, const RecurrentForward& args);
void step_norm_backward(const Exec& exec, const RecurrentBackward& args);

// Fills the copies: R under its mask, transposed for backward, and the vectors with h0 and zeros, or
// with zeros where h0 is not given. TF32 operands are rounded here, once.
void step_pack(const Exec& exec, const StepScratch& to, Cell cell, const View2& R,
               const WeightMask& mask, const View2& h0, int64_t B, bool backward);
}  // namespace cuda

}  // namespace unroll
