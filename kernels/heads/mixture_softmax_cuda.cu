// CUDA bodies of the mixture of softmaxes: a warp per token, its lanes over the experts.
#include <algorithm>
#include <cmath>

#include "kernels/base/reduce.cuh"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/heads/mixture_softmax.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

// log sum_k exp(f(k)), the same bits in every lane. All lanes of the warp take part.
template <class F>
GPU_DEVICE float warp_logsumexp(int64_t K, F f) {
  const int lane = int(threadIdx.x) % gpu::kWarp;
  float top = -INFINITY;
  for (int64_t k = lane; k < K; k += gpu::kWarp) top = fmaxf(top, f(k));
  top = warp_max(top);
  float sum = 0;
  for (int64_t k = lane; k < K; k += gpu::kWarp) sum += expf(f(k) - top);
  return top + logf(warp_sum(sum));
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void mixture_targets_kernel(View<int32_t, 1> to, View<const int32_t, 1> target, int64_t K) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i < to.n[0]) to(i) = target(i / K);
}

template <class T>
struct Rows {
  float* loss;
  View<T, 2> da;
  float* dnll;
  View<const float, 2> a;
  const float* nll;
  const int32_t* target;
  const float* dloss;
};

template <class T>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void mixture_xent_kernel(Rows<T> rows) {
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  const int64_t K = rows.a.n[1];
  for (int64_t n = int64_t(blockIdx.x) * kTileRows + warp; n < rows.a.n[0];
       n += int64_t(gridDim.x) * kTileRows) {
    const float* a = rows.a.row(n);
    const float* nll = rows.nll + n * K;
    const bool scored = rows.target[n] >= 0;
    const float log_sum = warp_logsumexp(K, [&](int64_t k) { return a[k]; });
    const float joint = warp_logsumexp(K, [&](int64_t k) { return a[k] - nll[k]; });
    if (lane == 0) rows.loss[n] = scored ? log_sum - joint : 0.0f;
    if (rows.da)
      for (int64_t k = lane; k < K; k += gpu::kWarp) {
        const float pi = expf(a[k] - log_sum), r = expf(a[k] - nll[k] - joint);
        rows.da(n, k) = T(scored ? rows.dloss[n] * (pi - r) : 0.0f);
        rows.dnll[n * K + k] = scored ? rows.dloss[n] * r : 0.0f;
      }
  }
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void mixture_add_expert_kernel(View<float, 2> log_p, View<const float, 2> expert,
                               View<const float, 2> a, int k) {
  const int64_t n = blockIdx.x;
  const float* row = a.row(n);
  const float log_pi = row[k] - warp_logsumexp(a.n[1], [&](int64_t j) { return row[j]; });
  for (int64_t v = threadIdx.x; v < log_p.n[1]; v += kThreads) {
    const float term = log_pi + expert(n, v);
    const float old = k == 0 ? -INFINITY : log_p(n, v);
    const float high = fmaxf(old, term), low = fminf(old, term);
    log_p(n, v) = low == -INFINITY ? high : high + log1pf(expf(low - high));
  }
}

}  // namespace

void mixture_targets(const Exec& exec, const MixtureTargets& args) {
  const int64_t rows = args.to.n[0];
  if (rows == 0) return;
  gpu::Launch shape;
  shape.grid.x = unsigned((rows + kThreads - 1) / kThreads);
  shape.block.x = kThreads;
  gpu::launch(mixture_targets_kernel, shape, exec.stream, args.to.as<int32_t>(),
              args.target.as<const int32_t>(), rows / args.target.n[0]);
}

void mixture_xent(const Exec& exec, const MixtureXent& args) {
  require_f32("mixture_xent", args.a.dtype);
  const int64_t N = args.a.n[0];
  if (N == 0) return;
  gpu::Launch shape;
  shape.grid.x = unsigned(std::min<int64_t>((N + kTileRows - 1) / kTileRows, 65535));
  shape.block.x = kTileThreads;
  with_act("mixture_xent", args.da ? args.da.dtype : DType::f32, [&](auto zero) {
    using T = decltype(zero);
    Rows<T> rows;
    rows.loss = static_cast<float*>(args.loss.data);
    rows.da = args.da.as<T>();
    rows.dnll = static_cast<float*>(args.dnll.data);
    rows.a = args.a.as<const float>();
    rows.nll = static_cast<const float*>(args.nll.data);
    rows.target = static_cast<const int32_t*>(args.target.data);
    rows.dloss = static_cast<const float*>(args.dloss.data);
    gpu::launch(mixture_xent_kernel<T>, shape, exec.stream, rows);
  });
}

void mixture_add_expert(const Exec& exec, const MixtureAddExpert& args) {
  require_f32("mixture_add_expert", args.log_p.dtype);
  if (args.log_p.size() == 0) return;
  gpu::Launch shape;
  shape.grid.x = unsigned(args.log_p.n[0]);
  shape.block.x = kThreads;
  gpu::launch(mixture_add_expert_kernel, shape, exec.stream, args.log_p.as<float>(),
              args.expert.as<const float>(), args.a.as<const float>(), args.k);
}

}  // namespace unroll::cuda
