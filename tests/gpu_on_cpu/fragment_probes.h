// Which lane and register holds which element of each ldmatrix and mma form, found by one-hot
// inputs; and which block has which place in a cluster. The same source runs on a GPU and on the
// engine.
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

// 16 x 2 blocks, numbered along x first, in clusters of 4. Of each block and each rank in turn, the
// block that has this rank in its cluster, as seen in static and in dynamic shared memory there, and
// as that block has left it here in vectors, words and by an atomic addition.
inline constexpr int kClusterBlocks = 32, kClusterSize = 4, kClusterWays = 5;
void probe_clusters(uint32_t* out, CUstream_st* stream);  // [32,4,5]
bool has_clusters();

}  // namespace unroll
