// Chunks of random length, so that the borders of chunks fall elsewhere in every epoch: AWD-LSTM
// (Merity, Keskar & Socher 2018, section 5.2).
//
//   base = bptt with probability 0.95, else bptt / 2
//   T    = max(5, the whole part of Normal(base, 5))
//
// Draws beyond bptt + 25, five deviations, are cut off there, one in three million: memory can then
// be sized once.
#pragma once

#include <cstdint>

namespace unroll {

// T of chunk k of an epoch, drawn by counter: the same after a resume.
int random_chunk_length(int bptt, uint64_t seed, int64_t epoch, int64_t k);

// The largest it gives.
inline int longest_random_chunk(int bptt) { return bptt + 25; }

}  // namespace unroll
