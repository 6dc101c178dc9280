// CUDA bodies of layer normalisation: a block to each row. A row is read from memory once; what
// follows reads it from the block's own cache.
#include <cmath>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/normalize/layer_norm.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

// f(column, Width<W>) for the strips of a row that are this thread's: the same whether they start
// on 16 bytes or not, and so is the order of sums.
template <class F>
GPU_DEVICE void for_each_mine(int64_t D, F f) {
  for_each_strip<4>(D, int(threadIdx.x), kThreads, f);
}
// W consecutive elements, in one piece where rows are `aligned`.
template <bool aligned, int W, class T>
GPU_DEVICE void load_strip(const T* p, float (&v)[W]) {
  if constexpr (aligned) {
    load_as_float<W>(p, v);
  } else {
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] = float(p[k]);
  }
}
template <bool aligned, int W, class T>
GPU_DEVICE void store_strip(T* p, const float (&v)[W]) {
  if constexpr (aligned) {
    store_from_float<W>(p, v);
  } else {
#pragma unroll
    for (int k = 0; k < W; ++k) p[k] = T(v[k]);
  }
}

template <class T, bool aligned>
GPU_KERNEL_BOUNDS(kThreads, 1)
void forward_kernel(View<float, 2> y, View<const float, 2> x, View<T, 2> x_hat, float* rstd,
                    const float* g, const float* b, float eps) {
  const int64_t row = blockIdx.x, D = x.n[1];
  const float* const in = x.row(row);
  float mine = 0;
  for_each_mine(D, [&](int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W];
    load_strip<aligned>(in + j, v);
#pragma unroll
    for (int k = 0; k < W; ++k) mine += v[k];
  });
  const float mean = block_sum(mine) / float(D);
  mine = 0;
  for_each_mine(D, [&](int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W];
    load_strip<aligned>(in + j, v);
#pragma unroll
    for (int k = 0; k < W; ++k) mine += (v[k] - mean) * (v[k] - mean);
  });
  const float r = 1.0f / std::sqrt(block_sum(mine) / float(D) + eps);
  if (x_hat && threadIdx.x == 0) rstd[row] = r;
  for_each_mine(D, [&](int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    float v[W], gain[W], bias[W] = {};
    load_strip<aligned>(in + j, v);
    load_strip<aligned>(g + j, gain);
    if (b) load_strip<aligned>(b + j, bias);
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] = (v[k] - mean) * r;
    if (x_hat) store_strip<aligned>(x_hat.row(row) + j, v);
#pragma unroll
    for (int k = 0; k < W; ++k) v[k] = gain[k] * v[k] + bias[k];
    store_strip<aligned>(y.row(row) + j, v);
  });
}

template <class T, bool aligned>
GPU_KERNEL_BOUNDS(kThreads, 1)
void backward_kernel(View<T, 2> dx, View<const T, 2> dy, View<const T, 2> x_hat, const float* rstd,
                     const float* g) {
  const int64_t row = blockIdx.x, D = dy.n[1];
  const T *const in = dy.row(row), *const normal = x_hat.row(row);
  const auto for_each_loaded = [&](auto f) {
    for_each_mine(D, [&](int64_t j, auto width) {
      constexpr int W = decltype(width)::value;
      float d[W], gain[W], hat[W];
      load_strip<aligned>(in + j, d);
      load_strip<aligned>(g + j, gain);
      load_strip<aligned>(normal + j, hat);
      f(j, d, gain, hat, width);
    });
  };
  float mine = 0, mine_hat = 0;
  for_each_loaded([&](int64_t, auto& d, auto& gain, auto& hat, auto width) {
#pragma unroll
    for (int k = 0; k < decltype(width)::value; ++k) {
      mine += gain[k] * d[k];
      mine_hat += gain[k] * d[k] * hat[k];
    }
  });
  const float mean = block_sum(mine) / float(D), mean_hat = block_sum(mine_hat) / float(D);
  const float r = rstd[row];
  for_each_loaded([&](int64_t j, auto& d, auto& gain, auto& hat, auto width) {
#pragma unroll
    for (int k = 0; k < decltype(width)::value; ++k)
      d[k] = r * (gain[k] * d[k] - mean - hat[k] * mean_hat);
    store_strip<aligned>(dx.row(row) + j, d);
  });
}

// As column_sum: a block sums 32 neighbouring columns, warp w takes rows w, w + 32, .., and the 32
// partial sums of a column are added in the order of the warps.
constexpr int kSumWarps = 32;
template <class T>
GPU_KERNEL_BOUNDS(kSumWarps* gpu::kWarp, 1)
void gain_gradient_kernel(float* dg, View<const T, 2> dy, View<const T, 2> x_hat, bool add) {
  GPU_SHARED(partial, float[kSumWarps][gpu::kWarp]);
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  const int64_t column = int64_t(blockIdx.x) * gpu::kWarp + lane;
  float mine = 0;
  if (column < dy.n[1]) {
#pragma unroll 8
    for (int64_t row = warp; row < dy.n[0]; row += kSumWarps)
      mine += float(dy(row, column)) * float(x_hat(row, column));
  }
  partial[warp][lane] = mine;
  gpu::sync_threads();
  if (warp == 0 && column < dy.n[1]) {
    float total = 0;
    for (int w = 0; w < kSumWarps; ++w) total += partial[w][lane];
    dg[column] = add ? dg[column] + total : total;
  }
}

gpu::Launch row_launch(int64_t rows) {
  gpu::Launch shape;
  shape.grid.x = unsigned(rows);
  shape.block.x = kThreads;
  return shape;
}

// Calls body(std::true_type{}) if rows of all views start on 16 bytes, body(std::false_type{})
// otherwise.
template <class Body, class... Views>
void with_alignment(Body&& body, const Views&... views) {
  if ((rows_aligned(views) && ...))
    body(std::true_type{});
  else
    body(std::false_type{});
}

}  // namespace

void layer_norm_forward(const Exec& exec, const LayerNorm& a) {
  require_f32("layer_norm_forward", a.x.dtype);
  with_act("layer_norm_forward", a.x_hat ? a.x_hat.dtype : DType::f32, [&](auto zero) {
    using T = decltype(zero);
    with_alignment(
        [&](auto aligned) {
          gpu::launch(forward_kernel<T, decltype(aligned)::value>, row_launch(a.x.n[0]),
                      exec.stream, a.y.as<float>(), a.x.as<const float>(), a.x_hat.as<T>(),
                      static_cast<float*>(a.rstd.data), static_cast<const float*>(a.g.data),
                      static_cast<const float*>(a.b.data), float(a.eps));
        },
        a.y, a.x, a.x_hat, a.g, a.b);
  });
}

void layer_norm_backward(const Exec& exec, const LayerNormBackward& a) {
  with_act("layer_norm_backward", a.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_alignment(
        [&](auto aligned) {
          gpu::launch(backward_kernel<T, decltype(aligned)::value>, row_launch(a.dy.n[0]),
                      exec.stream, a.dx.as<T>(), a.dy.as<const T>(), a.x_hat.as<const T>(),
                      static_cast<const float*>(a.rstd.data), static_cast<const float*>(a.g.data));
        },
        a.dx, a.dy, a.x_hat, a.g);
  });
}

void layer_norm_gain_gradient(const Exec& exec, const LayerNormGain& a) {
  with_act("layer_norm_gain_gradient", a.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    gpu::Launch shape;
    shape.grid.x = unsigned((a.dg.n[0] + gpu::kWarp - 1) / gpu::kWarp);
    shape.block.x = kSumWarps * gpu::kWarp;
    gpu::launch(gain_gradient_kernel<T>, shape, exec.stream, static_cast<float*>(a.dg.data),
                a.dy.as<const T>(), a.x_hat.as<const T>(), a.to_dg == Accumulate::add);
  });
}

}  // namespace unroll::cuda
