// A pseudo-random permutation of 0 .. n-1 that needs no memory: any element can be asked for at any
// time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/base/philox.h"

namespace unroll {

// Where position i of n goes, i < n < 2^62; one permutation per (seed, stream). A four-round
// Feistel network over the smallest even number of bits that holds n, walked until it lands below n
// (Black & Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002, sections 4 and 5): two
// steps on average and four at most.
inline uint64_t permute(uint64_t i, uint64_t n, uint64_t seed, uint64_t stream) {
  const uint64_t half =
      std::max<uint64_t>(1, (static_cast<uint64_t>(std::bit_width(n - 1)) + 1) / 2);
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = i >> half, right = i & mask;
    for (uint32_t round = 0; round < 4; ++round) {
      const Philox4 word =
          philox(static_cast<uint32_t>(right), round, static_cast<uint32_t>(stream),
                 static_cast<uint32_t>(stream >> 32), seed);
      const uint64_t next = left ^ (word.v[0] & mask);
      left = right;
      right = next;
    }
    i = left << half | right;
  } while (i >= n);
  return i;
}

}  // namespace unroll
