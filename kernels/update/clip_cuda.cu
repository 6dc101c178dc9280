// CUDA body of clip: a block of threads per piece, then one block over their sums.
#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/update/clip.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;        // of a block that sums a piece
constexpr int kTotalThreads = 1024;  // of the block that sums the pieces
constexpr int kStrip = 16;           // entries at a time: four loads under way

// This thread's share of the sum of squares of a piece; load(j, v) gets entries j, j+1, .. of it.
template <class Load>
GPU_DEVICE double sum_of_squares(const SlabPiece& piece, Load load) {
  float sum[4] = {};
  for_each_strip<kStrip>(piece.count, int(threadIdx.x), kThreads, [&](int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W];
    load(j, v);
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k % 4] += v[k] * v[k];
  });
  return (double(sum[0]) + sum[1]) + (double(sum[2]) + sum[3]);
}

// The weights whose gradients are kept by rows.
struct AllRows {
  struct Weight {
    const uint32_t* words;
    View<const float, 2> rows;
    uint64_t begin;
  };
  Weight of[kMostSlabRows];
  int count;
};

// The same of a piece whose rows are not all there: the others are zeros.
GPU_DEVICE double sum_of_squares(const SlabPiece& piece, const AllRows& all) {
  int weight = 0;
  while (weight + 1 < all.count && all.of[weight + 1].begin <= piece.offset) ++weight;
  const AllRows::Weight& g = all.of[weight];
  const uint32_t columns = piece.columns;
  const uint64_t first = (piece.offset - g.begin) / columns;
  const uint64_t end = first + (piece.column + piece.count - 1) / columns + 1;
  const int64_t from = place_of(g.words, 0, g.rows.n[0], first);
  const int64_t to = place_of(g.words, from, g.rows.n[0], end);
  if (from == to) return 0;
  int64_t row = -1, place = to;  // the row of the last entry, and where it is
  return sum_of_squares(piece, [&](int64_t j, auto& v) {
    for (float& entry : v) {
      const uint32_t at = piece.column + uint32_t(j++);
      if (int64_t(at / columns) != row) {
        row = at / columns;
        place = place_of(g.words, from, to, first + uint64_t(row));
        if (place < to && g.words[place] != first + uint64_t(row)) place = to;
      }
      entry = place < to ? g.rows(place, at % columns) : 0.0f;
    }
  });
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void piece_norms_kernel(double* piece_norm2, const float* g, const SlabPiece* pieces,
                        AllRows rows) {
  const SlabPiece piece = pieces[blockIdx.x];
  const double share = piece.gradient == kInRows
                           ? sum_of_squares(piece, rows)
                           : sum_of_squares(piece, [p = g + piece.gradient](int64_t j, auto& v) {
                               load_as_float<int(sizeof(v) / sizeof(float))>(p + j, v);
                             });
  const double total = block_sum(share);
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
    AllRows rows{};
    for (const SlabRows& weight : args.rows)
      rows.of[rows.count++] = {static_cast<const uint32_t*>(weight.g.words.data),
                               weight.g.rows.as<const float>(), uint64_t(weight.begin)};
    gpu::Launch shape;
    shape.grid.x = unsigned(args.pieces.n[0]);
    shape.block.x = kThreads;
    gpu::launch(piece_norms_kernel, shape, exec.stream, piece_norm2,
                static_cast<const float*>(args.g.data),
                static_cast<const SlabPiece*>(args.pieces.data), rows);
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
