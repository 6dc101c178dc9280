// Body of gpu.h for the CPU: keywords, and thin templates over the engine. Every function that
// synchronises or touches memory takes the caller's place in the source as its last argument, which
// kernels leave out. Included by gpu.h only.
#pragma once

#include <memory>
#include <tuple>
#include <utility>

#include "tests/gpu_on_cpu/thread_ops.h"

#define GPU_KERNEL
#define GPU_KERNEL_BOUNDS(max_threads, min_blocks)
#define GPU_DEVICE inline __attribute__((always_inline))
#define GPU_SHARED(name, ...)                                                                      \
  static char name##_tag;                                                                          \
  auto& name = *static_cast<typename ::unroll::gpu::Same<__VA_ARGS__>::type*>(                     \
      ::unroll::gpu_on_cpu::shared_object(&name##_tag,                                             \
                                          sizeof(typename ::unroll::gpu::Same<__VA_ARGS__>::type), \
                                          #name, ::unroll::gpu_on_cpu::Site::here()))
#define GPU_DYN_SHARED(name) unsigned char* name = ::unroll::gpu_on_cpu::dynamic_shared()

#define threadIdx (::unroll::gpu_on_cpu::thread_index())
#define blockIdx (::unroll::gpu_on_cpu::block_index())
#define blockDim (::unroll::gpu_on_cpu::block_shape())
#define gridDim (::unroll::gpu_on_cpu::grid_shape())

#pragma GCC poison __shared__ __syncthreads __syncwarp __threadfence

namespace unroll::gpu {

namespace sim = ::unroll::gpu_on_cpu;
using Site = sim::Site;

// --- launch (host code) ---------------------------------------------------------------------

// A kernel and its arguments, as they were at the launch.
template <class... P>
struct Call {
  void (*kernel)(P...);
  std::tuple<P...> arguments;

  // Not watched by the race detector, which would take the argument block for a stray access.
  template <size_t... I>
  __attribute__((no_sanitize("thread"))) void run(std::index_sequence<I...>) const {
    kernel(std::get<I>(arguments)...);
  }
  __attribute__((no_sanitize("thread"))) static void thread(const void* call) {
    static_cast<const Call*>(call)->run(std::index_sequence_for<P...>());
  }
};

template <class... P, class... A>
void launch(void (*kernel)(P...), const Launch& shape, CUstream_st* stream, A&&... args) {
  std::shared_ptr<const Call<P...>> call(new Call<P...>{kernel, {P(std::forward<A>(args))...}});
  sim::Grid grid;
  grid.grid = shape.grid;
  grid.block = shape.block;
  grid.shared_bytes = shape.shared_bytes;
  grid.cooperative = shape.cooperative;
  grid.early_start = shape.early_start;
  grid.cluster = shape.cluster;
  grid.stream = stream;
  grid.kernel = reinterpret_cast<const void*>(kernel);
  grid.arguments = call.get();
  grid.argument_bytes = sizeof *call;
  grid.site = shape.site;
  sim::check_limits(grid);
  launches.fetch_add(1, std::memory_order_relaxed);
  sim::enqueue(stream, [grid, call] { sim::run_grid(grid, &Call<P...>::thread, call.get()); });
}

template <class... P>
int blocks_per_sm(void (*)(P...), int threads, size_t shared_bytes) {
  return sim::blocks_per_sm(threads, shared_bytes);
}

template <class K>
int resident_clusters(K, const Launch& shape) {
  return sim::resident_clusters(int(shape.block.x * shape.block.y * shape.block.z),
                                shape.shared_bytes, shape.cluster);
}

inline size_t shared_bytes_per_block() { return sim::shared_bytes_per_block(); }

// --- shared memory --------------------------------------------------------------------------

template <class T>
GPU_DEVICE T* carve(unsigned char*& raw, size_t n, Site site = Site::here()) {
  return static_cast<T*>(sim::carve_piece(raw, n * sizeof(T), site));
}

// --- barriers and warps ---------------------------------------------------------------------

GPU_DEVICE void sync_threads(Site site = Site::here()) { sim::block_barrier(site); }
GPU_DEVICE void sync_warp(uint32_t mask = kFullMask, Site site = Site::here()) {
  sim::warp_barrier(mask, site);
}
GPU_DEVICE void grid_sync(Site site = Site::here()) { sim::grid_barrier(site); }
GPU_DEVICE int cluster_rank() { return sim::cluster_rank(); }
GPU_DEVICE void cluster_sync(Site site = Site::here()) { sim::cluster_barrier(site); }
template <class T>
GPU_DEVICE T* cluster_map(T* own, int rank, Site site = Site::here()) {
  return static_cast<T*>(sim::cluster_map(own, rank, site));
}
GPU_DEVICE void wait_for_previous(Site site = Site::here()) { sim::wait_for_previous(site); }
GPU_DEVICE void let_next_start() {}

template <class T>
GPU_DEVICE T shfl(uint32_t mask, T v, int lane, Site site = Site::here()) {
  sim::warp_shuffle(sim::WarpKind::shfl, mask, &v, sizeof(T), lane, site);
  return v;
}
template <class T>
GPU_DEVICE T shfl_xor(uint32_t mask, T v, int lane_mask, Site site = Site::here()) {
  sim::warp_shuffle(sim::WarpKind::shfl_xor, mask, &v, sizeof(T), lane_mask, site);
  return v;
}
GPU_DEVICE uint32_t ballot(uint32_t mask, bool p, Site site = Site::here()) {
  return sim::warp_vote(sim::WarpKind::ballot, mask, p, site);
}
GPU_DEVICE bool any(uint32_t mask, bool p, Site site = Site::here()) {
  return sim::warp_vote(sim::WarpKind::any, mask, p, site) != 0;
}

// --- atomics and ordering -------------------------------------------------------------------

// old = *p; *p = f(old), with nothing in between.
template <class T, class F>
GPU_DEVICE T atomic_update(T* p, F f, Site site) {
  T old, desired;
  sim::atomic_begin(p, &old, sizeof(T), site);
  desired = f(old);
  sim::atomic_end(p, &desired, sizeof(T));
  return old;
}
template <class T>
GPU_DEVICE T atomic_add(T* p, std::type_identity_t<T> v, Site site = Site::here()) {
  return atomic_update(
      p, [v](T old) { return T(old + v); }, site);
}
template <class T>
GPU_DEVICE T atomic_cas(T* p, std::type_identity_t<T> expected, std::type_identity_t<T> desired,
                        Site site = Site::here()) {
  static_assert(std::is_integral_v<T>);
  return atomic_update(
      p, [=](T old) { return old == expected ? desired : old; }, site);
}

GPU_DEVICE void fence(Site site = Site::here()) { sim::fence(site); }

template <class T>
GPU_DEVICE T load_acquire(const T* p, Site site = Site::here()) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  T v;
  sim::ordered_load(p, &v, sizeof(T), sim::Ordering::acquire, /*poll=*/true, site);
  return v;
}
template <class T>
GPU_DEVICE void store_release(T* p, std::type_identity_t<T> v, Site site = Site::here()) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  sim::ordered_store(p, &v, sizeof(T), sim::Ordering::release, site);
}
GPU_DEVICE void red_release_add(uint32_t* p, uint32_t v, Site site = Site::here()) {
  uint32_t old;
  sim::atomic_begin(p, &old, sizeof old, site, sim::Ordering::release);
  const uint32_t sum = old + v;
  sim::atomic_end(p, &sum, sizeof sum);
}
template <class T>
GPU_DEVICE T load_relaxed(const T* p, Site site = Site::here()) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  T v;
  sim::ordered_load(p, &v, sizeof(T), sim::Ordering::relaxed, /*poll=*/false, site);
  return v;
}
template <class T>
GPU_DEVICE void store_relaxed(T* p, std::type_identity_t<T> v, Site site = Site::here()) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  sim::ordered_store(p, &v, sizeof(T), sim::Ordering::relaxed, site);
}
template <class T>
GPU_DEVICE T poll_relaxed(const T* p, Site site = Site::here()) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  T v;
  sim::ordered_load(p, &v, sizeof(T), sim::Ordering::relaxed, /*poll=*/true, site);
  return v;
}

// --- vector access --------------------------------------------------------------------------

template <int N, class T>
GPU_DEVICE Vec<std::remove_const_t<T>, N> load_vec(T* p, Site site = Site::here()) {
  Vec<std::remove_const_t<T>, N> v;
  sim::vector_load(p, &v, sizeof v, site);
  return v;
}
template <class T, int N>
GPU_DEVICE void store_vec(T* p, const Vec<T, N>& v, Site site = Site::here()) {
  sim::vector_store(p, &v, sizeof v, site);
}

// --- asynchronous copies --------------------------------------------------------------------

GPU_DEVICE void cp_async16(void* dst_shared, const void* src_global, int bytes = 16,
                           Site site = Site::here()) {
  sim::async_copy16(dst_shared, src_global, bytes, site);
}
GPU_DEVICE void cp_async_commit() { sim::async_commit(); }
template <int N>
GPU_DEVICE void cp_async_wait(Site site = Site::here()) {
  sim::async_wait(N, site);
}

// --- tensor cores ---------------------------------------------------------------------------

GPU_DEVICE void ldmatrix_x1(uint32_t (&r)[1], const void* row, Site site = Site::here()) {
  sim::ldmatrix(r, 1, false, row, site);
}
GPU_DEVICE void ldmatrix_x2(uint32_t (&r)[2], const void* row, Site site = Site::here()) {
  sim::ldmatrix(r, 2, false, row, site);
}
GPU_DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row, Site site = Site::here()) {
  sim::ldmatrix(r, 4, false, row, site);
}
GPU_DEVICE void ldmatrix_x1_trans(uint32_t (&r)[1], const void* row, Site site = Site::here()) {
  sim::ldmatrix(r, 1, true, row, site);
}
GPU_DEVICE void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row, Site site = Site::here()) {
  sim::ldmatrix(r, 2, true, row, site);
}
GPU_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row, Site site = Site::here()) {
  sim::ldmatrix(r, 4, true, row, site);
}
GPU_DEVICE void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                  Site site = Site::here()) {
  sim::mma(sim::WarpKind::mma_bf16, d, a, b, site);
}
GPU_DEVICE void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                                 Site site = Site::here()) {
  sim::mma(sim::WarpKind::mma_tf32, d, a, b, site);
}
GPU_DEVICE float exp2_of(float x) {
  const float y = __builtin_exp2f(x);
  return y < 0x1p-126f ? 0.0f : y;
}
GPU_DEVICE uint32_t to_tf32(float x) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  // Infinity and NaN stay what they are; everything else is rounded, ties away from zero.
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
}

}  // namespace unroll::gpu
