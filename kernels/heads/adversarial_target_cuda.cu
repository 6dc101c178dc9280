// CUDA bodies of the adversarial softmax: a warp per row.
#include <algorithm>
#include <cmath>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/heads/adversarial_row.h"
#include "kernels/heads/adversarial_target.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

gpu::Launch warp_per_row(int64_t rows) {
  gpu::Launch shape;
  shape.grid.x = unsigned(std::min<int64_t>((rows + kTileRows - 1) / kTileRows, 65535));
  shape.block.x = kTileThreads;
  return shape;
}

// f(row, lane) by all lanes of a warp.
template <class F>
GPU_DEVICE void for_each_row(int64_t rows, F f) {
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  for (int64_t n = int64_t(blockIdx.x) * kTileRows + warp; n < rows;
       n += int64_t(gridDim.x) * kTileRows)
    f(n, lane);
}

template <class T>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void shift_kernel(float* shift, View<const T, 2> x, View<const T, 2> W, const int32_t* target,
                  float eps) {
  for_each_row(x.n[0], [&](int64_t n, int lane) {
    const int32_t y = target[n];
    float xx = 0, ww = 0, xw = 0;
    if (y >= 0)
      for (int64_t d = lane; d < x.n[1]; d += gpu::kWarp) {
        const float a = float(x(n, d)), w = float(W(y, d));
        xx += a * a;
        ww += w * w;
        xw += a * w;
      }
    xx = warp_sum(xx);
    ww = warp_sum(ww);
    xw = warp_sum(xw);
    if (lane == 0) shift[n] = xw > 0 ? eps * sqrtf(xx) * sqrtf(ww) : 0.0f;
  });
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void loss_kernel(float* loss, const float* nll, const float* shift, int64_t N) {
  const int64_t n = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (n < N) loss[n] = shift[n] > 0 ? adversarial_nll(nll[n], shift[n]) : nll[n];
}

template <class T>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void dx_kernel(View<T, 2> dx, View<const T, 2> x, const float* nll, const float* shift,
               const float* dloss) {
  for_each_row(x.n[0], [&](int64_t n, int lane) {
    const float s = shift[n];
    if (!(s > 0)) return;  // the whole warp
    float xx = 0;
    for (int64_t d = lane; d < x.n[1]; d += gpu::kWarp) xx += float(x(n, d)) * float(x(n, d));
    const float length = sqrtf(warp_sum(xx));
    const float factor = dloss[n] * adversarial_rest(nll[n], s) * (s / length) / length;
    for (int64_t d = lane; d < x.n[1]; d += gpu::kWarp)
      dx(n, d) = T(float(dx(n, d)) + factor * float(x(n, d)));
  });
}

const float* floats(const View1& v) { return static_cast<const float*>(v.data); }

}  // namespace

void adversarial_shift(const Exec& exec, const AdversarialShift& args) {
  if (args.x.n[0] == 0) return;
  with_act("adversarial_shift", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    gpu::launch(shift_kernel<T>, warp_per_row(args.x.n[0]), exec.stream,
                static_cast<float*>(args.shift.data), args.x.as<const T>(), args.W.as<const T>(),
                static_cast<const int32_t*>(args.target.data), float(args.eps));
  });
}

void adversarial_loss(const Exec& exec, const AdversarialLoss& args) {
  require_f32("adversarial_loss", args.nll.dtype);
  const int64_t N = args.nll.n[0];
  if (N == 0) return;
  gpu::Launch shape;
  shape.grid.x = unsigned((N + kThreads - 1) / kThreads);
  shape.block.x = kThreads;
  gpu::launch(loss_kernel, shape, exec.stream, static_cast<float*>(args.loss.data),
              floats(args.nll), floats(args.shift), N);
}

void adversarial_dx(const Exec& exec, const AdversarialDx& args) {
  if (args.x.n[0] == 0) return;
  with_act("adversarial_dx", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    gpu::launch(dx_kernel<T>, warp_per_row(args.x.n[0]), exec.stream, args.dx.as<T>(),
                args.x.as<const T>(), floats(args.nll), floats(args.shift), floats(args.dloss));
  });
}

}  // namespace unroll::cuda
