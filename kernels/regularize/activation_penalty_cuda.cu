// CUDA body of the activation penalties.
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/regularize/activation_penalty.h"

namespace unroll::cuda {
namespace {

template <class T>
struct Penalty {
  View<T, 2> dy;
  View<const T, 2> y;
  const float* weight;
  int64_t B;
  float ar, tar;
  bool add;
};

template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void activation_penalty_kernel(Penalty<T> p) {
  for_each_tile<N>(p.y.n[0], p.y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    const bool has_next = row + p.B < p.y.n[0];
    const float by_value = p.ar * p.weight[row], by_step = p.tar * p.weight[row];
    const float by_next = has_next ? p.tar * p.weight[row + p.B] : 0.0f;
    float now[W], before[W], after[W], sum[W] = {};
    load_as_float<W>(p.y.row(row) + column, now);
    load_as_float<W>(p.y.row(row >= p.B ? row - p.B : row) + column, before);
    load_as_float<W>(p.y.row(has_next ? row + p.B : row) + column, after);
    if (p.add) load_as_float<W>(p.dy.row(row) + column, sum);
#pragma unroll
    for (int k = 0; k < W; ++k)
      sum[k] += by_value * now[k] + by_step * (now[k] - before[k]) - by_next * (after[k] - now[k]);
    store_from_float<W>(p.dy.row(row) + column, sum);
  });
}

}  // namespace

void activation_penalty_backward(const Exec& exec, const ActivationPenalty& args) {
  if (args.y.size() == 0) return;
  const double T = double(args.y.n[0]), D = double(args.y.n[2]);
  with_act("activation_penalty_backward", args.y.dtype, [&](auto zero) {
    using Act = decltype(zero);
    Penalty<Act> p;
    p.dy = args.dy.matrix().as<Act>();
    p.y = args.y.matrix().as<const Act>();
    p.weight = static_cast<const float*>(args.weight.data);
    p.B = args.y.n[1];
    p.ar = float(2 * args.ar / D);
    p.tar = T > 1 ? float(2 * args.tar * T / (T - 1) / D) : 0.0f;
    p.add = args.to_dy == Accumulate::add;
    with_width(
        [&](auto width) {
          constexpr int N = decltype(width)::value;
          gpu::launch(activation_penalty_kernel<Act, N>, row_tiles(p.y.n[0], p.y.n[1], N),
                      exec.stream, p);
        },
        args.dy, args.y);
  });
}

}  // namespace unroll::cuda
