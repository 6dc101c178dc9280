// Sums and maxima over a warp or a block, in a fixed order: the same bits every time, the same
// result to every thread. T is float, double or an integer type that shuffles carry.
//
// The block forms need all threads of a one-dimensional block whose size is a multiple of 32; they
// keep 32 numbers in shared memory and may be called again at once. Maxima drop NaN, as fmax does.
#pragma once

#include "kernels/base/gpu.h"

namespace unroll {

struct AddOp {
  template <class T>
  GPU_HD T operator()(T a, T b) const {
    return a + b;
  }
};
struct MaxOp {
  template <class T>
  GPU_HD T operator()(T a, T b) const {
    return a > b || b != b ? a : b;
  }
};

// `op` over the 32 lanes. Partners combine the same two numbers, so all lanes get the same bits.
template <class T, class Op>
GPU_DEVICE T warp_reduce(T v, Op op) {
  for (int distance = gpu::kWarp / 2; distance > 0; distance /= 2)
    v = op(v, gpu::shfl_xor(gpu::kFullMask, v, distance));
  return v;
}

// `op` over the block: every warp reduces its own, then every warp reduces the partial results.
template <class T, class Op>
GPU_DEVICE T block_reduce(T v, T identity, Op op) {
  GPU_SHARED(partial, T[gpu::kWarp]);
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  v = warp_reduce(v, op);
  if (lane == 0) partial[warp] = v;
  gpu::sync_threads();
  v = warp_reduce(lane < int(blockDim.x) / gpu::kWarp ? partial[lane] : identity, op);
  gpu::sync_threads();  // the next call overwrites `partial`
  return v;
}

template <class T>
GPU_DEVICE T warp_sum(T v) {
  return warp_reduce(v, AddOp{});
}
template <class T>
GPU_DEVICE T warp_max(T v) {
  return warp_reduce(v, MaxOp{});
}
template <class T>
GPU_DEVICE T block_sum(T v) {
  return block_reduce(v, T(0), AddOp{});
}
// Below every other number: -infinity, or the least integer.
template <class T>
GPU_DEVICE T lowest_of() {
  if constexpr (std::is_floating_point_v<T>)
    return -T(__builtin_huge_val());
  else
    return std::is_signed_v<T> ? T(T(1) << (8 * sizeof(T) - 1)) : T(0);
}
template <class T>
GPU_DEVICE T block_max(T v) {
  return block_reduce(v, lowest_of<T>(), MaxOp{});
}

}  // namespace unroll
