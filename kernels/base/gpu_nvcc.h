// Body of gpu.h for nvcc: keywords, and forced-inline functions over single PTX instructions; the
// host's part is gpu_nvcc_launch.h. Included by gpu.h only. Instruction layouts: PTX ISA 8.x,
// sections on ldmatrix, mma and cp.async.
#pragma once

#include <cooperative_groups.h>

#include "kernels/base/gpu_nvcc_launch.h"

#define GPU_KERNEL __global__
#define GPU_KERNEL_BOUNDS(max_threads, min_blocks) \
  __global__ __launch_bounds__(max_threads, min_blocks)
#define GPU_DEVICE __device__ __forceinline__
#define GPU_SHARED(name, ...) \
  __shared__ __align__(16) typename ::unroll::gpu::Same<__VA_ARGS__>::type name
#define GPU_DYN_SHARED(name)                                                \
  extern __shared__ __align__(16) unsigned char gpu_dynamic_shared_bytes[]; \
  unsigned char* name = gpu_dynamic_shared_bytes

namespace unroll::gpu {

// --- shared memory --------------------------------------------------------------------------

template <class T>
GPU_DEVICE T* carve(unsigned char*& raw, size_t n) {
  T* piece = reinterpret_cast<T*>(raw);
  raw += carve_bytes<T>(n);
  return piece;
}

GPU_DEVICE uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// --- barriers and warps ---------------------------------------------------------------------

GPU_DEVICE void sync_threads() { __syncthreads(); }
GPU_DEVICE void sync_warp(uint32_t mask = kFullMask) { __syncwarp(mask); }
GPU_DEVICE void grid_sync() { cooperative_groups::this_grid().sync(); }

// This block's number in its cluster, from 0.
GPU_DEVICE int cluster_rank() {
  uint32_t rank = 0;
#if __CUDA_ARCH__ >= 900
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
  return int(rank);
}
// All threads of all blocks of the cluster meet; what they wrote before it to any of their shared
// memory, and to device memory, is seen after it.
GPU_DEVICE void cluster_sync() {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "barrier.cluster.arrive.release;\n\t"
      "barrier.cluster.wait.acquire;" ::
          : "memory");
#else
  __syncthreads();
#endif
}
// The place in the shared memory of block `rank` of the cluster that `own` is in this block's: for
// plain, vector and relaxed accesses, not for cp_async16 or ldmatrix.
template <class T>
GPU_DEVICE T* cluster_map(T* own, int rank) {
#if __CUDA_ARCH__ >= 900
  T* mapped;
  asm("mapa.u64 %0, %1, %2;" : "=l"(mapped) : "l"(own), "r"(rank));
  return mapped;
#else
  (void)rank;
  return own;
#endif
}

// Waits until the kernels ahead in the stream have ended and what they wrote can be read; returns
// at once in a kernel that was not started early.
GPU_DEVICE void wait_for_previous() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
// Once all blocks have called it or ended, the next kernel may start if it was launched with
// early_start. It hands over no data. After wait_for_previous(), so that two kernels of a chain
// stand on the device at most: before it each would let in the next, until they fill it and
// another stream's work finds no place.
GPU_DEVICE void let_next_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

template <class T>
GPU_DEVICE T shfl(uint32_t mask, T v, int lane) {
  return __shfl_sync(mask, v, lane);
}
template <class T>
GPU_DEVICE T shfl_xor(uint32_t mask, T v, int lane_mask) {
  return __shfl_xor_sync(mask, v, lane_mask);
}
GPU_DEVICE uint32_t ballot(uint32_t mask, bool p) { return __ballot_sync(mask, p); }
GPU_DEVICE bool any(uint32_t mask, bool p) { return __any_sync(mask, p) != 0; }

// --- atomics and ordering, scope: the whole device ------------------------------------------

// Relaxed read-modify-write; each returns the old value. 64-bit integers are uint64_t.
template <class T>
GPU_DEVICE T atomic_add(T* p, T v) {
  if constexpr (std::is_integral_v<T> && sizeof(T) == 8)
    return T(atomicAdd(reinterpret_cast<unsigned long long*>(p), (unsigned long long)(v)));
  else
    return atomicAdd(p, v);
}
template <class T>
GPU_DEVICE T atomic_cas(T* p, T expected, T desired) {
  static_assert(std::is_integral_v<T>);
  if constexpr (sizeof(T) == 8)
    return T(atomicCAS(reinterpret_cast<unsigned long long*>(p), (unsigned long long)(expected),
                       (unsigned long long)(desired)));
  else
    return atomicCAS(p, expected, desired);
}

GPU_DEVICE void fence() { __threadfence(); }

// One 4- or 8-byte integer with acquire, release or no ordering.
template <class T>
GPU_DEVICE T load_acquire(const T* p) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  if constexpr (sizeof(T) == 4) {
    uint32_t v;
    asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return T(v);
  } else {
    uint64_t v;
    asm volatile("ld.acquire.gpu.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    return T(v);
  }
}
template <class T>
GPU_DEVICE void store_release(T* p, std::type_identity_t<T> v) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  if constexpr (sizeof(T) == 4)
    asm volatile("st.release.gpu.u32 [%0], %1;" ::"l"(p), "r"(uint32_t(v)) : "memory");
  else
    asm volatile("st.release.gpu.u64 [%0], %1;" ::"l"(p), "l"(uint64_t(v)) : "memory");
}
GPU_DEVICE void red_release_add(uint32_t* p, uint32_t v) {
  asm volatile("red.release.gpu.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

// Relaxed access to 4, 8 or 16 bytes that other blocks may touch at the same time. Each 4-byte
// word of a 16-byte access is whole; the four words may come from different writes.
template <class T>
GPU_DEVICE T load_relaxed(const T* p) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  T result;
  if constexpr (sizeof(T) == 4) {
    uint32_t v;
    asm volatile("ld.relaxed.gpu.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    memcpy(&result, &v, 4);
  } else if constexpr (sizeof(T) == 8) {
    uint64_t v;
    asm volatile("ld.relaxed.gpu.u64 %0, [%1];" : "=l"(v) : "l"(p) : "memory");
    memcpy(&result, &v, 8);
  } else {
    uint4 v;
    asm volatile("ld.relaxed.gpu.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p)
                 : "memory");
    memcpy(&result, &v, 16);
  }
  return result;
}
template <class T>
GPU_DEVICE void store_relaxed(T* p, std::type_identity_t<T> value) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
  if constexpr (sizeof(T) == 4) {
    uint32_t v;
    memcpy(&v, &value, 4);
    asm volatile("st.relaxed.gpu.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
  } else if constexpr (sizeof(T) == 8) {
    uint64_t v;
    memcpy(&v, &value, 8);
    asm volatile("st.relaxed.gpu.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
  } else {
    uint4 v;
    memcpy(&v, &value, 16);
    asm volatile("st.relaxed.gpu.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(p), "r"(v.x), "r"(v.y),
                 "r"(v.z), "r"(v.w)
                 : "memory");
  }
}
// load_relaxed for a loop that waits until the value changes.
template <class T>
GPU_DEVICE T poll_relaxed(const T* p) {
  return load_relaxed(p);
}

// --- vector access ---------------------------------------------------------------------------

// N elements at p, which is aligned to N * sizeof(T) bytes.
template <int N, class T>
GPU_DEVICE Vec<std::remove_const_t<T>, N> load_vec(T* p) {
  using V = Vec<std::remove_const_t<T>, N>;
  if constexpr (sizeof(V) == 16) {
    return __builtin_bit_cast(V, *reinterpret_cast<const uint4*>(p));
  } else if constexpr (sizeof(V) == 8) {
    return __builtin_bit_cast(V, *reinterpret_cast<const uint2*>(p));
  } else if constexpr (sizeof(V) == 4) {
    return __builtin_bit_cast(V, *reinterpret_cast<const uint32_t*>(p));
  } else {
    return *reinterpret_cast<const V*>(p);
  }
}
template <class T, int N>
GPU_DEVICE void store_vec(T* p, const Vec<T, N>& v) {
  using V = Vec<T, N>;
  if constexpr (sizeof(V) == 16) {
    *reinterpret_cast<uint4*>(p) = __builtin_bit_cast(uint4, v);
  } else if constexpr (sizeof(V) == 8) {
    *reinterpret_cast<uint2*>(p) = __builtin_bit_cast(uint2, v);
  } else if constexpr (sizeof(V) == 4) {
    *reinterpret_cast<uint32_t*>(p) = __builtin_bit_cast(uint32_t, v);
  } else {
    *reinterpret_cast<V*>(p) = v;
  }
}

// --- asynchronous copies ----------------------------------------------------------------------

// Starts a copy of 16 bytes from device to shared memory, both 16-byte aligned; of the source only
// the first `bytes` are read and the rest is zero. Lands at the latest in cp_async_wait, and other
// threads see it after a barrier following that.
GPU_DEVICE void cp_async16(void* dst_shared, const void* src_global, int bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(dst_shared)),
               "l"(src_global), "r"(bytes)
               : "memory");
}
// Closes a group of the copies started since the last commit.
GPU_DEVICE void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N of the groups this thread committed are still under way.
template <int N>
GPU_DEVICE void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// --- tensor cores -----------------------------------------------------------------------------

// Loads 8x8 matrices of 16-bit elements from shared memory. Lane l gives the address of row l % 8
// of matrix l / 8 (16 bytes, aligned); of matrix m, r[m] holds row lane / 4, columns
// 2 * (lane % 4) and the next. _trans: the same of the transposed matrix. Addresses of lanes
// beyond the last matrix are not read.
GPU_DEVICE void ldmatrix_x1(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(shared_address(row))
               : "memory");
}
GPU_DEVICE void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
GPU_DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}
GPU_DEVICE void ldmatrix_x1_trans(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(shared_address(row))
               : "memory");
}
GPU_DEVICE void ldmatrix_x2_trans(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
}
GPU_DEVICE void ldmatrix_x4_trans(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

// d[16,8] += a[16,16] b[16,8], bf16 operands, f32 sums; all 32 lanes take part. With g = lane / 4
// and t = lane % 4, low half first:
//   a[0] row g, columns 2t 2t+1   a[1] row g+8   a[2] row g, columns 2t+8 2t+9   a[3] row g+8
//   b[0] rows 2t 2t+1 of column g   b[1] rows 2t+8 2t+9
//   d[0] d[1] row g, columns 2t 2t+1   d[2] d[3] row g+8
GPU_DEVICE void mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// d[16,8] += a[16,8] b[8,8] in TF32 (operands from to_tf32), f32 sums:
//   a[0] row g, column t   a[1] row g+8   a[2] row g, column t+4   a[3] row g+8, column t+4
//   b[0] row t of column g   b[1] row t+4;  d as above
GPU_DEVICE void mma_m16n8k8_tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// 2^x in two units of its last place, in one instruction; 0 instead of a subnormal number.
GPU_DEVICE float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// An f32 rounded to TF32 (10 bits of mantissa, ties away from zero).
GPU_DEVICE uint32_t to_tf32(float x) {
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

}  // namespace unroll::gpu
