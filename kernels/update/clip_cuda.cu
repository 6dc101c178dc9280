// CUDA body of clip: a block of threads per piece, then one block over their sums.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/update/clip.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;        // of a block that sums a piece
constexpr int kTotalThreads = 1024;  // of the block that sums the pieces
constexpr int kStrip = 16;           // entries at a time: four loads under way

GPU_KERNEL_BOUNDS(kThreads, 1)
void piece_norms_kernel(double* piece_norm2, const float* g, const SlabPiece* pieces) {
  const SlabPiece piece = pieces[blockIdx.x];
  const float* p = g + piece.offset;
  float sum[4] = {};
  for_each_strip<kStrip>(piece.count, int(threadIdx.x), kThreads, [&](int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W];
    load_as_float<W>(p + j, v);
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k % 4] += v[k] * v[k];
  });
  const double total = block_sum((double(sum[0]) + sum[1]) + (double(sum[2]) + sum[3]));
  if (threadIdx.x == 0) piece_norm2[blockIdx.x] = total;
}

GPU_KERNEL_BOUNDS(kTotalThreads, 1)
void scales_kernel(UpdateScales* scales, double* factor, UpdateCounts* counts,
                   const double* piece_norm2, const int32_t* group_first, const double* clips,
                   const UpdateInputs* inputs, int groups, double beta1, double beta2) {
  double total = 0;
  for (int group = 0; group < groups; ++group) {
    double norm2 = 0;
    for (int p = group_first[group] + int(threadIdx.x); p < group_first[group + 1];
         p += kTotalThreads)
      norm2 += piece_norm2[p];
    norm2 = block_sum(norm2);
    total += norm2;
    if (threadIdx.x == 0)
      factor[group] = clip_factor(clips[group] < 0 ? inputs->clip : clips[group], norm2);
  }
  if (threadIdx.x == 0) {
    scales->norm2 = total;
    finish_scales(*scales, *counts, *inputs, beta1, beta2);
  }
}

}  // namespace

void clip(const Exec& exec, const Clip& args) {
  require_f32("clip", args.g.dtype);
  UNROLL_CHECK(rows_aligned(args.g), "clip: g does not start on 16 bytes");
  double* piece_norm2 = static_cast<double*>(args.scratch.data);
  if (args.pieces.n[0] > 0) {
    gpu::Launch shape;
    shape.grid.x = unsigned(args.pieces.n[0]);
    shape.block.x = kThreads;
    gpu::launch(piece_norms_kernel, shape, exec.stream, piece_norm2,
                static_cast<const float*>(args.g.data),
                static_cast<const SlabPiece*>(args.pieces.data));
  }
  gpu::Launch shape;
  shape.block.x = kTotalThreads;
  gpu::launch(scales_kernel, shape, exec.stream, static_cast<UpdateScales*>(args.scales.data),
              args.scales.as<double>().data + kUpdateScales,
              static_cast<UpdateCounts*>(args.counts.data), static_cast<const double*>(piece_norm2),
              static_cast<const int32_t*>(args.group_first.data),
              static_cast<const double*>(args.clips.data),
              static_cast<const UpdateInputs*>(args.inputs.data), int(args.clips.n[0]), args.beta1,
              args.beta2);
}

}  // namespace unroll::cuda
