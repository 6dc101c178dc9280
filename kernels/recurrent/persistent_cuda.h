// The persistent schedule on CUDA: one cooperative launch per pass over a layer, in which the
// recurrent matrix stays on chip for all T steps and the blocks exchange the state, forward, or the
// gate gradients, backward, as they become known. Operands in bf16, TF32 or f32, as Exec and the
// type of h say; f32 sums and cell states.
//
// The exchange has no barrier: the data are the flag (persistent_exchange.cuh). Blocks wait for
// each other, so all of them are resident at once: one per multiprocessor, checked when the pass is
// planned. Backward on compute capability 9.0 they come in clusters where that is predicted to pay
// (persistent_plan.h); where the device holds too few of them, in smaller ones.
//
// With lengths, a batch group, of neighbouring lanes, exchanges and multiplies only in the steps that
// its longest lane has; in the others it copies states and hands gradients on. So lanes that the
// caller sorts by length cost less.
#pragma once

#include <string>

#include "kernels/base/exec.h"
#include "kernels/recurrent/persistent_plan.h"
#include "kernels/recurrent/planner.h"
#include "kernels/recurrent/recurrent.h"

namespace unroll {
struct BackwardCarry;
}  // namespace unroll

namespace unroll::cuda {

// Of the device of `exec`, as far as the runtime tells them.
DeviceFigures device_figures(const Exec& exec);

// Empty where the persistent schedule can run this layer on the device of `exec`, forward and
// backward, beside passes - 1 others of its size; otherwise the reason, in words that complete "the
// persistent schedule cannot run: ".
std::string persistent_obstacle(const Exec& exec, Cell cell, DType act, int64_t B, int64_t H,
                                int passes = 1);

// As recurrent_forward and recurrent_backward (recurrent.h), which check the arguments. Throw a
// usage Error where persistent_obstacle is not empty.
void persistent_forward(const Exec& exec, const RecurrentForward& args);
void persistent_backward(const Exec& exec, const RecurrentBackward& args);

// Two passes of one shape, neither of which reads what the other writes, in one launch: each on
// half of the device.
void persistent_forward_pair(const Exec& exec, const RecurrentForward& first,
                             const RecurrentForward& second);
void persistent_backward_pair(const Exec& exec, const RecurrentBackward& first,
                              const RecurrentBackward& second);

// All of the above, and parts (backward_part.h) if there are carries, with a plan for each pass:
// for tests. `second` may be null.
void persistent_forward(const Exec& exec, const RecurrentForward& first,
                        const RecurrentForward* second, const PersistentPlan& plan);
void persistent_backward(const Exec& exec, const RecurrentBackward& first,
                         const RecurrentBackward* second, const PersistentPlan& plan,
                         const BackwardCarry* carries = nullptr);

// With UNROLL_PERSISTENT_TIMEOUT=n in the environment at a launch, a thread that has looked n times
// at a word that does not come leaves this record at the start of the scratch, and the launch ends
// with wrong numbers instead of never. Without it, a wait has no end.
struct PersistentReport {
  uint32_t timed_out;    // 1 if a wait was given up; the rest is set only then
  uint32_t block, warp;  // who waited; blocks are counted from the pass's first
  uint32_t step;         // in which step of the pass, counted in its direction
  uint32_t k;            // for which number: forward the unit, backward gate * Hp + unit
  uint32_t lane, owner;  // of which lane, and the block that was to send it
};
// The record, copied to the host by the caller, in a sentence; empty if nothing timed out.
std::string text_of(const PersistentReport& report);

}  // namespace unroll::cuda
