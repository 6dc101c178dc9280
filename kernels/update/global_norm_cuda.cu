// CUDA body of global_norm: a block of threads per kNormBlock entries, then one block over their
// sums.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/update/global_norm.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;        // of a block that sums squares
constexpr int kTotalThreads = 1024;  // of the block that sums the blocks

template <int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void block_norms_kernel(double* block_norm, View<const float, 1> g) {
  const int64_t first = int64_t(blockIdx.x) * kNormBlock;
  const int64_t rest = g.n[0] - first, count = rest < kNormBlock ? rest : kNormBlock;
  const float* p = g.data + first;
  float sum = 0;
  for_each_strip<N>(count, int(threadIdx.x), kThreads, [&](int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W];
    load_as_float<W>(p + j, v);
#pragma unroll
    for (int k = 0; k < W; ++k) sum += v[k] * v[k];
  });
  sum = block_sum(sum);
  if (threadIdx.x == 0) block_norm[blockIdx.x] = double(sum);
}

GPU_KERNEL_BOUNDS(kTotalThreads, 1)
void total_norm_kernel(double* norm2, const double* block_norm, int64_t blocks) {
  double sum = 0;
  for (int64_t k = threadIdx.x; k < blocks; k += kTotalThreads) sum += block_norm[k];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *norm2 = sum;
}

}  // namespace

void global_norm(const Exec& exec, const GlobalNorm& args) {
  require_f32("global_norm", args.g.dtype);
  const auto g = args.g.as<const float>();
  double* block_norm = static_cast<double*>(args.scratch.data);
  const int64_t blocks = (g.n[0] + kNormBlock - 1) / kNormBlock;
  if (blocks > 0) {
    gpu::Launch shape;
    shape.grid.x = unsigned(blocks);
    shape.block.x = kThreads;
    gpu::launch(rows_aligned(args.g) ? block_norms_kernel<4> : block_norms_kernel<1>, shape,
                exec.stream, block_norm, g);
  }
  gpu::Launch shape;
  shape.block.x = kTotalThreads;
  gpu::launch(total_norm_kernel, shape, exec.stream, static_cast<double*>(args.norm2.data),
              static_cast<const double*>(block_norm), blocks);
}

}  // namespace unroll::cuda
