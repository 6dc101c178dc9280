// What the kernels of recurrent_constants.h share.
#pragma once

#include "bench/kernels/recurrent_constants.h"
#include "kernels/base/gpu.h"

namespace unroll::bench {

inline constexpr int kThreads = kConstantsThreads, kWarps = kConstantsWarps;
using Words = gpu::Vec<uint32_t, 4>;

inline gpu::Launch shape_of(int blocks, size_t shared_bytes = 0) {
  gpu::Launch shape;
  shape.grid.x = unsigned(blocks);
  shape.block.x = kThreads;
  shape.shared_bytes = shared_bytes;
  return shape;
}

}  // namespace unroll::bench
