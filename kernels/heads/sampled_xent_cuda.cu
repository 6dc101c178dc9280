// CUDA body of the losses over samples: per turn of rows a product into scratch, a block per row
// that turns scores into gradients, and products for dx and dW.
#include <algorithm>
#include <cmath>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/heads/sampled_xent.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

GPU_DEVICE float softplus(float x) {
  return (x > 0 ? x : 0.0f) + std::log1p(std::exp(-std::fabs(x)));
}
GPU_DEVICE float logistic(float x) {
  const float e = std::exp(-std::fabs(x));
  return (x < 0 ? e : 1.0f) / (1.0f + e);
}

GPU_DEVICE float bias_of(const float* b, int32_t word) { return b ? b[word] : 0.0f; }
// What the score of a sample is shifted by.
GPU_DEVICE float shift_of(const float* b, const float* log_q, float log_S, int32_t word) {
  return bias_of(b, word) - log_q[word] - log_S;
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void shift_kernel(View<float, 1> shift, const int32_t* ids, const float* b, const float* log_q,
                  float log_S) {
  const int64_t s = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (s < shift.n[0]) shift(s) = shift_of(b, log_q, log_S, ids[s]);
}

template <class T>
struct SampledRows {
  View<const T, 2> x, W_true;
  View<T, 2> dx, dz;
  View<float, 2> dW_true, z;  // z: [rows,S]; dz may be its memory
  float *loss, *db_true;
  const float *dloss, *shift, *b, *log_q;
  const int32_t *target, *ids;
  float log_S, log_normalizer;
};

// Scores of the samples in, their gradients out; returns loss and dz of the target to all threads.
template <class T>
GPU_DEVICE void softmax_row(const SampledRows<T>& a, float* z, T* dz, float z_true, float weight,
                            int32_t target, float* loss, float* dz_true) {
  const int64_t S = a.z.n[1];
  float top = z_true;
  for (int64_t s = threadIdx.x; s < S; s += kThreads) {
    z[s] = a.ids[s] == target ? -__builtin_huge_valf() : z[s] + a.shift[s];
    top = z[s] > top ? z[s] : top;
  }
  top = block_max(top);
  float sum = 0;
  for (int64_t s = threadIdx.x; s < S; s += kThreads) sum += std::exp(z[s] - top);
  sum = block_sum(sum) + std::exp(z_true - top);
  *loss = std::log(sum) + (top - z_true);
  *dz_true = weight * std::expm1(-*loss);
  const float scale = weight / sum;
  for (int64_t s = threadIdx.x; s < S; s += kThreads) {
    const float score = z[s];
    dz[s] = T(std::exp(score - top) * scale);
  }
}

template <class T>
GPU_DEVICE void nce_row(const SampledRows<T>& a, float* z, T* dz, float z_true, float weight,
                        float* loss, float* dz_true) {
  const int64_t S = a.z.n[1];
  float sum = 0;
  for (int64_t s = threadIdx.x; s < S; s += kThreads) {
    const float score = z[s] + a.shift[s] - a.log_normalizer;
    sum += softplus(score);
    dz[s] = T(weight * logistic(score));
  }
  *loss = block_sum(sum) + softplus(a.log_normalizer - z_true);
  *dz_true = -weight * logistic(a.log_normalizer - z_true);
}

// A block takes one row.
template <class T, SampledObjective objective>
GPU_KERNEL_BOUNDS(kThreads, 2)
void rows_kernel(SampledRows<T> a) {
  const int64_t n = blockIdx.x, D = a.x.n[1];
  const int32_t target = a.target[n];
  float loss = 0, dz_true = 0, dot = 0;
  for (int64_t d = threadIdx.x; d < D; d += kThreads)
    dot += float(a.x(n, d)) * float(a.W_true(n, d));
  dot = block_sum(dot);
  if (target < 0) {  // the same for the whole block
    for (int64_t s = threadIdx.x; s < a.z.n[1]; s += kThreads) a.dz(n, s) = T(0.0f);
  } else {
    const float weight = a.dloss[n];
    if constexpr (objective == SampledObjective::softmax)
      softmax_row(a, a.z.row(n), a.dz.row(n), dot + bias_of(a.b, target), weight, target, &loss,
                  &dz_true);
    else
      nce_row(a, a.z.row(n), a.dz.row(n), dot + shift_of(a.b, a.log_q, a.log_S, target), weight,
              &loss, &dz_true);
  }
  if (threadIdx.x == 0) {
    a.loss[n] = loss;
    a.db_true[n] = dz_true;
  }
  for (int64_t d = threadIdx.x; d < D; d += kThreads) {
    a.dx(n, d) = T(dz_true * float(a.W_true(n, d)));
    a.dW_true(n, d) = dz_true * float(a.x(n, d));
  }
}

template <class T>
void run(const Exec& exec, const SampledXent& args) {
  constexpr bool kInPlace = std::is_same_v<T, float>;  // else dz follows the scores
  const int64_t N = args.x.n[0], S = args.ids.n[0], ld = (S + 7) / 8 * 8;
  const float* b = static_cast<const float*>(args.b.data);
  const float* log_q = static_cast<const float*>(args.log_q.data);
  const int32_t* ids = static_cast<const int32_t*>(args.ids.data);
  const float log_S = float(std::log(double(S)));
  float* shift = static_cast<float*>(args.scratch.data);
  gpu::Launch per_sample;
  per_sample.grid.x = unsigned((S + kThreads - 1) / kThreads);
  per_sample.block.x = kThreads;
  gpu::launch(shift_kernel, per_sample, exec.stream, view_of(shift, S).template as<float>(), ids, b,
              log_q, log_S);

  const int64_t row_bytes = ld * int64_t(sizeof(float) + (kInPlace ? 0 : sizeof(T)));
  const int64_t room = (int64_t(args.scratch.bytes) - ld * int64_t(sizeof(float))) / row_bytes;
  // Turns of equal height.
  const int64_t most = std::min(N, room), turns = (N + most - 1) / most;
  const int64_t height = (N + turns - 1) / turns;
  View2 z = view_of(shift + ld, height, S);
  z.ld = ld;
  View2 dz = z;
  dz.dtype = DTypeOf<T>::value;
  if constexpr (!kInPlace) dz.data = shift + ld + height * ld;

  for (int64_t first = 0; first < N; first += height) {
    const int64_t count = std::min(height, N - first);
    const View2 x_c = args.x.slice(first, count), z_c = z.slice(0, count),
                dz_c = dz.slice(0, count), dx_c = args.dx.slice(first, count);
    cuda::gemm(exec, {.C = z_c, .A = x_c, .B = args.W_sample, .transpose_B = Transpose::yes});
    SampledRows<T> rows{};
    rows.x = x_c.as<const T>();
    rows.W_true = args.W_true.slice(first, count).template as<const T>();
    rows.dx = dx_c.as<T>();
    rows.dz = dz_c.as<T>();
    rows.dW_true = args.dW_true.slice(first, count).template as<float>();
    rows.z = z_c.as<float>();
    rows.loss = static_cast<float*>(args.loss.data) + first;
    rows.db_true = static_cast<float*>(args.db_true.data) + first;
    rows.dloss = static_cast<const float*>(args.dloss.data) + first;
    rows.shift = shift;
    rows.b = b;
    rows.log_q = log_q;
    rows.target = static_cast<const int32_t*>(args.target.data) + first;
    rows.ids = ids;
    rows.log_S = log_S;
    rows.log_normalizer = float(args.log_normalizer);
    gpu::Launch per_row;
    per_row.grid.x = unsigned(count);
    per_row.block.x = kThreads;
    gpu::launch(args.objective == SampledObjective::softmax
                    ? rows_kernel<T, SampledObjective::softmax>
                    : rows_kernel<T, SampledObjective::nce>,
                per_row, exec.stream, rows);
    cuda::gemm(exec, {.C = dx_c, .A = dz_c, .B = args.W_sample, .beta = 1});
    cuda::gemm(exec, {.C = args.dW_sample,
                      .A = dz_c,
                      .B = x_c,
                      .transpose_A = Transpose::yes,
                      .beta = first > 0 ? 1.0 : 0.0});
    cuda::column_sum(exec, {.sum = args.db_sample,
                            .x = dz_c,
                            .to_sum = first > 0 ? Accumulate::add : Accumulate::overwrite});
  }
}

}  // namespace

void sampled_xent(const Exec& exec, const SampledXent& args) {
  with_act("sampled_xent", args.x.dtype, [&](auto zero) { run<decltype(zero)>(exec, args); });
}

}  // namespace unroll::cuda
