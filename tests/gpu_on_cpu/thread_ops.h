// What a running CUDA thread asks of the engine: gpu_host.h is a thin layer over these.
#pragma once

#include "tests/gpu_on_cpu/engine.h"

namespace unroll::gpu_on_cpu {

dim3 thread_index();
dim3 block_index();
dim3 block_shape();
dim3 grid_shape();

// The shared object that `tag` stands for in the current block, made at the first call.
void* shared_object(const void* tag, size_t bytes, const char* name, Site site);
unsigned char* dynamic_shared();
// The piece of the dynamic shared memory at `raw`, with a guarded gap behind it; moves `raw` past
// it.
void* carve_piece(unsigned char*& raw, size_t bytes, Site site);

void block_barrier(Site site);
void warp_barrier(uint32_t mask, Site site);
void grid_barrier(Site site);
void cluster_barrier(Site site);
int cluster_rank();
// The place in the shared memory of block `rank` of the cluster that `own` is in the current one's.
void* cluster_map(const void* own, int rank, Site site);
void wait_for_previous(Site site);

enum class WarpKind : uint8_t { sync, shfl, shfl_xor, ballot, any, ldmatrix, mma_bf16, mma_tf32 };
// Exchanges the `bytes` at `value` between the lanes of `mask`.
void warp_shuffle(WarpKind kind, uint32_t mask, void* value, int bytes, int operand, Site site);
// The lanes of `mask` for which p holds, and for `any` the same.
uint32_t warp_vote(WarpKind kind, uint32_t mask, bool p, Site site);
void ldmatrix(uint32_t* r, int matrices, bool transposed, const void* row, Site site);
void mma(WarpKind kind, float* d, const uint32_t* a, const uint32_t* b, Site site);

enum class Ordering : uint8_t { relaxed, acquire, release };
// Reads *p into *old as the first half of a read-modify-write; no other thread runs before the
// second half.
void atomic_begin(void* p, void* old, int bytes, Site site, Ordering ordering = Ordering::relaxed);
void atomic_end(void* p, const void* desired, int bytes);
// A polling load lets other threads run when it sees the value that it saw last.
void ordered_load(const void* p, void* value, int bytes, Ordering ordering, bool poll, Site site);
void ordered_store(void* p, const void* value, int bytes, Ordering ordering, Site site);
void fence(Site site);

void async_copy16(void* dst, const void* src, int bytes, Site site);
void async_commit();
void async_wait(int groups_left, Site site);

void vector_load(const void* p, void* value, int bytes, Site site);
void vector_store(void* p, const void* value, int bytes, Site site);

// A misaligned vector access is a fault on the device.
[[noreturn]] void fail_aligned(const void* p, int bytes, Site site);
inline void check_aligned(const void* p, int bytes, Site site) {
  if (reinterpret_cast<uintptr_t>(p) % uintptr_t(bytes) != 0) fail_aligned(p, bytes, site);
}

}  // namespace unroll::gpu_on_cpu
