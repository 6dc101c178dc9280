// Many words of a mask at once, on the CPU: in vector code, as the blocks do not depend on each
// other.
#pragma once

#include "kernels/base/philox.h"

namespace unroll::cpu {

constexpr int64_t kStrip = 1024;  // words drawn at once, at most: 4 KiB

// words: those of the blocks from `first_block` on, at least `count` of them, at most kStrip.
inline void draw_strip(uint64_t seed, uint64_t step, uint32_t op, uint64_t first_block,
                       int64_t count, uint32_t* words) {
  const uint64_t blocks = uint64_t(count + 3) / 4;
  for (uint64_t i = 0; i < blocks; ++i) {
    const Philox4 block = philox_block(seed, step, op, first_block + i);
    for (int k = 0; k < 4; ++k) words[4 * i + k] = block.v[k];
  }
}

}  // namespace unroll::cpu
