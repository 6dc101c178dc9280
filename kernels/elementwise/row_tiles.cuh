// A [rows, columns] map cut into tiles: a warp takes 32 strips of N neighbouring columns of one
// row.
#pragma once

#include <algorithm>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/gpu.h"

namespace unroll::cuda {

constexpr int kTileRows = 8;  // warps of a block, a row each
constexpr int kTileThreads = kTileRows * gpu::kWarp;

// Shape of the launch for strips of N columns. rows and columns are above 0.
inline gpu::Launch row_tiles(int64_t rows, int64_t columns, int N) {
  const int64_t strips = (columns + N - 1) / N;
  gpu::Launch shape;
  shape.grid.x = unsigned((strips + gpu::kWarp - 1) / gpu::kWarp);
  shape.grid.y = unsigned(std::min<int64_t>((rows + kTileRows - 1) / kTileRows, 65535));
  shape.block.x = kTileThreads;
  return shape;
}

// f(row, column, Width<N>) for every whole strip of this thread, f(.., Width<1>) for each element
// of a strip cut short by the end of the row.
template <int N, class F>
GPU_DEVICE void for_each_tile(int64_t rows, int64_t columns, F f) {
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  const int64_t column = (int64_t(blockIdx.x) * gpu::kWarp + lane) * N;
  for (int64_t row = int64_t(blockIdx.y) * kTileRows + warp; row < rows;
       row += int64_t(gridDim.y) * kTileRows) {
    if (column + N <= columns) {
      f(row, column, Width<N>{});
    } else if constexpr (N > 1) {
      for (int64_t j = column; j < columns; ++j) f(row, j, Width<1>{});
    }
  }
}

// Calls body with the Width in which a lane's part of the widest element type is 16 bytes, so that a
// warp writes whole sectors: 4 with a view in f32, else 8. Width<1> where not all rows of every view
// start on 16 bytes.
template <class Body, class... Views>
void with_width(Body&& body, const Views&... views) {
  if (!(rows_aligned(views) && ...)) return body(Width<1>{});
  if (((views.data && views.dtype == DType::f32) || ...)) return body(Width<4>{});
  body(Width<8>{});
}

}  // namespace unroll::cuda
