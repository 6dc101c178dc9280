// Launch of a kernel over a slab of parameters: enough blocks to fill the device, each thread
// taking strips of kSlabStrip entries until the slab ends.
#pragma once

#include <algorithm>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/exec.h"
#include "kernels/base/gpu.h"

namespace unroll::cuda {

constexpr int kSlabThreads = 256;
constexpr int kSlabStrip = 4;

inline gpu::Launch slab_launch(const Exec& exec, int64_t n) {
  constexpr int64_t kPerBlock = kSlabThreads * kSlabStrip;
  constexpr int64_t kBlocksPerSm = 8;
  gpu::Launch shape;
  shape.grid.x =
      unsigned(std::min((n + kPerBlock - 1) / kPerBlock, kBlocksPerSm * int64_t(exec.sm_count)));
  shape.block.x = kSlabThreads;
  return shape;
}

// for_each_strip over the whole grid.
template <int N, class F>
GPU_DEVICE void for_each_slab_strip(int64_t n, F f) {
  for_each_strip<N>(n, int(blockIdx.x * kSlabThreads + threadIdx.x), int(gridDim.x * kSlabThreads),
                    f);
}

}  // namespace unroll::cuda
