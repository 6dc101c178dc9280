// A block to each lane, so that the statistics of its row stay within the block. What no step writes
// is fetched into shared memory while the product is still running, and what lies between two walks
// over the units stays there, where a lane has room for both.
#include "kernels/recurrent/loop_norm_cuda.h"

#include "kernels/base/reduce.cuh"
#include "kernels/recurrent/loop_norm_lane.h"
#include "kernels/recurrent/step_product.cuh"

namespace unroll::cuda {
namespace {

constexpr int kMaxThreads = 512;

// The vector of the next product. F32 and TF32 are packed alike.
template <class T>
struct Mail {
  using Packing = std::conditional_t<sizeof(T) == 2, Bf16Product, Tf32Product>;
  T* data;  // or null
  int64_t pairs;
  bool round;
};

template <class T>
struct BlockTeam {
  using Sum = float;
  Mail<T> mail;

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
  GPU_DEVICE void hand_on(int64_t b, int64_t k, T v) const {
    using P = typename Mail<T>::Packing;
    if (mail.data) mail.data[mail_index<P>(mail.pairs, b, k)] = operand_of<P>(v, mail.round);
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

// One lane's row in shared memory, under the lane's own number.
template <class T>
GPU_DEVICE View<T, 2> one_row(T* row, int64_t n) {
  return {row, {1, n}, 0};
}

// A thread copies the entries of the units that it works on, so no other thread is waited for.
template <class C, class T>
GPU_DEVICE void stage(const BlockTeam<T>& team, NormForwardStep<T, float>& a, int64_t b,
                      unsigned char* raw) {
  const int64_t H = a.h.n[1], GH = C::gates * H;
  float* const Wx = gpu::carve<float>(raw, size_t(GH));
  float* const g_R = gpu::carve<float>(raw, size_t(GH));
  float* const b_R = gpu::carve<float>(raw, size_t(GH));
  team.each(H, [&](int64_t u) {
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      const int64_t row = k * H + u;
      Wx[row] = a.Wx(b, row) + (a.b_W ? a.b_W[row] : 0.0f);
      g_R[row] = a.g_R[row];
      b_R[row] = a.b_R ? a.b_R[row] : 0.0f;
    }
  });
  a.Wx = one_row<const float>(Wx, GH);
  a.b_W = nullptr;
  a.g_R = g_R;
  a.b_R = b_R;
  if constexpr (C::states == 2) {
    a.new_c = one_row(gpu::carve<float>(raw, size_t(H)), H);
    a.new_o = one_row(gpu::carve<float>(raw, size_t(H)), H);
  }
}
template <class C, class T>
size_t stage_bytes(const NormForwardStep<T, float>& a) {
  const size_t H = size_t(a.h.n[1]), rows = gpu::carve_bytes<float>(C::gates * H);
  return 3 * rows + (C::states == 2 ? 2 * gpu::carve_bytes<float>(H) : 0);
}

template <class C, class T>
GPU_DEVICE void stage(const BlockTeam<T>& team, NormBackwardStep<T, float>& a, int64_t b,
                      unsigned char* raw) {
  const int64_t H = a.dh.n[1], GH = C::gates * H;
  float* const g_R = gpu::carve<float>(raw, size_t(GH));
  a.scaled_N = one_row(gpu::carve<float>(raw, size_t(GH)), GH);
  T* const Rh_hat = gpu::carve<T>(raw, size_t(GH));
  T* const saved = gpu::carve<T>(raw, size_t(kNormSaved<C> * H));
  team.each(H, [&](int64_t u) {
#pragma unroll
    for (int k = 0; k < C::gates; ++k) {
      g_R[k * H + u] = a.g_R[k * H + u];
      Rh_hat[k * H + u] = a.Rh_hat(b, k * H + u);
    }
#pragma unroll
    for (int k = 0; k < kNormSaved<C>; ++k) saved[k * H + u] = a.saved(b, k * H + u);
  });
  a.g_R = g_R;
  a.Rh_hat = one_row<const T>(Rh_hat, GH);
  a.saved = one_row<const T>(saved, kNormSaved<C> * H);
  if constexpr (C::states == 2) a.scaled_n = one_row(gpu::carve<float>(raw, size_t(H)), H);
}
template <class C, class T>
size_t stage_bytes(const NormBackwardStep<T, float>& a) {
  const size_t H = size_t(a.dh.n[1]), rows = gpu::carve_bytes<float>(C::gates * H);
  return 2 * rows + gpu::carve_bytes<T>(C::gates * H) + gpu::carve_bytes<T>(kNormSaved<C> * H) +
         (C::states == 2 ? gpu::carve_bytes<float>(H) : 0);
}

template <class C, class T>
GPU_KERNEL_BOUNDS(kMaxThreads, 1)
void normed_forward_kernel(NormForwardStep<T, float> a, Mail<T> mail, bool staged) {
  GPU_DYN_SHARED(raw);
  const BlockTeam<T> team{mail};
  if (staged) stage<C>(team, a, blockIdx.x, raw);
  gpu::wait_for_previous();
  gpu::let_next_start();
  forward_lane<C>(team, a, blockIdx.x);
}

template <class C, class T>
GPU_KERNEL_BOUNDS(kMaxThreads, 1)
void normed_backward_kernel(NormBackwardStep<T, float> a, Mail<T> mail, bool staged) {
  GPU_DYN_SHARED(raw);
  const BlockTeam<T> team{mail};
  if (staged) stage<C>(team, a, blockIdx.x, raw);
  gpu::wait_for_previous();
  gpu::let_next_start();
  backward_lane<C>(team, a, blockIdx.x);
}

// `mail_rows`: entries of a lane of the next product's vector.
template <class C, class T, class Kernel, class Step>
void launch_lanes(const Exec& exec, Kernel kernel, const Step& step, int64_t B, int64_t H,
                  int64_t mail_rows, const NormLaunch& how) {
  const size_t bytes = stage_bytes<C>(step);
  const bool staged = bytes <= how.stage_bytes;
  // Every thread takes about equally many units.
  const int64_t each = (H + kMaxThreads - 1) / kMaxThreads, threads = (H + each - 1) / each;
  gpu::Launch shape;
  shape.grid.x = unsigned(B);
  shape.block.x = unsigned((threads + gpu::kWarp - 1) / gpu::kWarp * gpu::kWarp);
  shape.shared_bytes = staged ? bytes : 0;
  shape.early_start = how.early_start;
  const Mail<T> mail = {static_cast<T*>(how.mail), pairs_of<typename Mail<T>::Packing>(mail_rows),
                        exec.matmul == MatmulMode::tf32};
  gpu::launch(kernel, shape, exec.stream, step, mail, staged);
}

}  // namespace

void normed_forward_step(const Exec& exec, const RecurrentForward& a, const View2& Rh, int64_t i,
                         const NormLaunch& how) {
  with_cell(a.cell, [&](auto cell) {
    with_act("recurrent_forward", a.h.dtype, [&](auto zero) {
      using C = decltype(cell);
      using T = decltype(zero);
      const int64_t H = a.h.n[2];
      launch_lanes<C, T>(exec, normed_forward_kernel<C, T>, norm_forward_step<T, float>(a, Rh, i),
                         a.h.n[1], H, H, how);
    });
  });
}

void normed_backward_step(const Exec& exec, const RecurrentBackward& a, const View2& from_R,
                          int64_t i, const NormLaunch& how) {
  with_cell(a.cell, [&](auto cell) {
    with_act("recurrent_backward", a.h.dtype, [&](auto zero) {
      using C = decltype(cell);
      using T = decltype(zero);
      const int64_t H = a.h.n[2];
      launch_lanes<C, T>(exec, normed_backward_kernel<C, T>,
                         norm_backward_step<T, float>(a, from_R, i), a.h.n[1], H, C::gates * H,
                         how);
    });
  });
}

}  // namespace unroll::cuda
