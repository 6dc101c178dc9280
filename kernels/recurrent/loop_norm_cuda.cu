// CUDA body of a normalised step of the alternating schedule: one kernel for all that follows the
// product, a block to each lane, so that the statistics of its row stay within the block. The row of
// products is read three times, the second and third time from the block's own cache.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/recurrent/loop_norm_lane.h"

namespace unroll::cuda {
namespace {

constexpr int kMaxThreads = 512;

struct BlockTeam {
  using Sum = float;
  GPU_DEVICE bool leads() const { return threadIdx.x == 0; }
  template <class F>
  GPU_DEVICE void each(int64_t n, const F& f) const {
    for (int64_t u = threadIdx.x; u < n; u += blockDim.x) f(u);
  }
  template <int N, class F>
  GPU_DEVICE Sums<float, N> sum(int64_t n, const F& f) const {
    Sums<float, N> mine;
    each(n, [&](int64_t u) {
      const Sums<float, N> x = f(u);
#pragma unroll
      for (int k = 0; k < N; ++k) mine.v[k] += x.v[k];
    });
    return of_block(mine);
  }

 private:
  // As block_sum of reduce.cuh, N sums for two barriers.
  template <int N>
  static GPU_DEVICE Sums<float, N> of_block(Sums<float, N> s) {
    GPU_SHARED(partial, float[N][gpu::kWarp]);
    const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
#pragma unroll
    for (int k = 0; k < N; ++k) {
      s.v[k] = warp_sum(s.v[k]);
      if (lane == 0) partial[k][warp] = s.v[k];
    }
    gpu::sync_threads();
#pragma unroll
    for (int k = 0; k < N; ++k)
      s.v[k] = warp_sum(lane < int(blockDim.x) / gpu::kWarp ? partial[k][lane] : 0.0f);
    gpu::sync_threads();  // the next call overwrites `partial`
    return s;
  }
};

template <class C, class T>
GPU_KERNEL_BOUNDS(kMaxThreads, 1)
void normed_forward_kernel(NormForwardStep<T, float> a) {
  forward_lane<C>(BlockTeam{}, a, blockIdx.x);
}

template <class C, class T>
GPU_KERNEL_BOUNDS(kMaxThreads, 1)
void normed_backward_kernel(NormBackwardStep<T, float> a) {
  backward_lane<C>(BlockTeam{}, a, blockIdx.x);
}

// Every thread takes about equally many units.
gpu::Launch lane_launch(int64_t B, int64_t H) {
  const int64_t each = (H + kMaxThreads - 1) / kMaxThreads, threads = (H + each - 1) / each;
  gpu::Launch shape;
  shape.grid.x = unsigned(B);
  shape.block.x = unsigned((threads + gpu::kWarp - 1) / gpu::kWarp * gpu::kWarp);
  return shape;
}

}  // namespace

void normed_forward_step(const Exec& exec, const RecurrentForward& a, const View2& Rh, int64_t i) {
  with_cell(a.cell, [&](auto cell) {
    with_act("recurrent_forward", a.h.dtype, [&](auto zero) {
      using T = decltype(zero);
      gpu::launch(normed_forward_kernel<decltype(cell), T>, lane_launch(a.h.n[1], a.h.n[2]),
                  exec.stream, norm_forward_step<T, float>(a, Rh, i));
    });
  });
}

void normed_backward_step(const Exec& exec, const RecurrentBackward& a, const View2& from_R,
                          int64_t i) {
  with_cell(a.cell, [&](auto cell) {
    with_act("recurrent_backward", a.h.dtype, [&](auto zero) {
      using T = decltype(zero);
      gpu::launch(normed_backward_kernel<decltype(cell), T>, lane_launch(a.h.n[1], a.h.n[2]),
                  exec.stream, norm_backward_step<T, float>(a, from_R, i));
    });
  });
}

}  // namespace unroll::cuda
