// Which lane and register holds which element of each ldmatrix and mma form, found by one-hot
// inputs. The same source runs on a GPU and on the engine.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace unroll {

// Everything is device memory. A slot is lane * registers * parts + register * parts + part, a part
// being one of the elements packed into a register.

// For each form x1, x2, x4, x1_trans, x2_trans, x4_trans: what slot s of the result holds, as
// 64 * matrix + 8 * row + column. matrices[form] * 64 numbers per form, one form after the other.
inline constexpr int kLdmatrixCounts[6] = {1, 2, 4, 1, 2, 4};
inline constexpr int kLdmatrixNumbers = 14 * 64;
void probe_ldmatrix(uint32_t* out, CUstream_st* stream);

// out[a * 128 + d]: accumulator slot d (of 128) when slot a of the left operand is one, the others
// are zero, and slot b of the right operand is b + 1.
inline constexpr int kBf16Slots = 256, kTf32Slots = 128, kAccumulatorSlots = 128;
void probe_mma_bf16(float* out, CUstream_st* stream);  // [kBf16Slots, 128]
void probe_mma_tf32(float* out, CUstream_st* stream);  // [kTf32Slots, 128]
// Twice the accumulator the product starts from: out[d] = 3 (d + 1) with an operand of zero.
void probe_accumulator(float* out, CUstream_st* stream);  // [128]

}  // namespace unroll
