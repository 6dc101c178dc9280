// Swaps the contents of the slab of weights with another one, e.g. ASGD's mean, and rewrites the
// bf16 shadow, in one pass. Contents, not pointers: captured steps hold the addresses.
//
//   theta, other <- other, theta      shadow <- bf16(theta)
//
// Without `other` the shadow alone is written, from the weights as they are.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/update/pieces.h"

namespace unroll {

struct Exchange {
  View1 theta;     // [n]  f32 or f64; in and out
  View1 other{};   // [n]  as theta; in and out
  View1 shadow{};  // [m]  bf16, rows shadow_stride(columns) apart
  View2 pieces;    // [P,kPieceWords]  u64: SlabPiece
};
void exchange(const Exec& exec, const Exchange& args);

namespace cpu {
void exchange(const Exec& exec, const Exchange& args);
}
namespace cuda {
void exchange(const Exec& exec, const Exchange& args);
}

}  // namespace unroll
