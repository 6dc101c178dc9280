// Philox4x32-10, a counter-based random generator: four 32-bit words are a pure function of a
// 128-bit counter and a 64-bit key, so CPU and GPU draw the same bits in any order, and a mask is
// regenerated in the backward pass instead of being stored.
//
// Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
#pragma once

#include <cstdint>

#include "kernels/base/host_device.h"

namespace unroll {

struct Philox4 {
  uint32_t v[4];
};

GPU_HD Philox4 philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint64_t key) {
  uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0;
    const uint64_t p1 = uint64_t(0xCD9E8D57u) * c2;
    const uint32_t h0 = uint32_t(p0 >> 32), l0 = uint32_t(p0);
    const uint32_t h1 = uint32_t(p1 >> 32), l1 = uint32_t(p1);
    c0 = h1 ^ c1 ^ k0;
    c1 = l1;
    c2 = h0 ^ c3 ^ k1;
    c3 = l0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The four words of elements 4*block .. 4*block+3 of the mask of op `op` at mask step `step`
// (below 2^32).
GPU_HD Philox4 philox_block(uint64_t seed, uint64_t step, uint32_t op, uint64_t block) {
  return philox(uint32_t(block), uint32_t(block >> 32), uint32_t(step), op, seed);
}

// Uniform in (0, 1], never 0, so that its logarithm is finite.
GPU_HD float uniform_open(uint32_t bits) {
  return (float(bits >> 8) + 1.0f) * (1.0f / 16777216.0f);
}

}  // namespace unroll
