// Probes of ldmatrix and mma by one-hot inputs, and of clusters; see fragment_probes.h.
#include "tests/gpu_on_cpu/fragment_probes.h"

#include "kernels/base/dtype.h"
#include "kernels/base/gpu.h"

namespace unroll {
namespace {

// Element (row, column) of matrix m is its own number.
template <int N, bool Transposed>
GPU_DEVICE void load_form(const uint16_t* tile, uint32_t* out) {
  const int lane = int(threadIdx.x);
  uint32_t r[N];
  const uint16_t* row = tile + 8 * (lane % (8 * N));
  if constexpr (N == 1) Transposed ? gpu::ldmatrix_x1_trans(r, row) : gpu::ldmatrix_x1(r, row);
  if constexpr (N == 2) Transposed ? gpu::ldmatrix_x2_trans(r, row) : gpu::ldmatrix_x2(r, row);
  if constexpr (N == 4) Transposed ? gpu::ldmatrix_x4_trans(r, row) : gpu::ldmatrix_x4(r, row);
  for (int i = 0; i < N; ++i) {
    out[(lane * N + i) * 2] = r[i] & 0xffffu;
    out[(lane * N + i) * 2 + 1] = r[i] >> 16;
  }
}

GPU_KERNEL void ldmatrix_kernel(uint32_t* out) {
  GPU_SHARED(tile, uint16_t[4 * 64]);
  for (int i = int(threadIdx.x); i < 4 * 64; i += 32) tile[i] = uint16_t(i);
  gpu::sync_threads();
  load_form<1, false>(tile, out);
  load_form<2, false>(tile, out + 64);
  load_form<4, false>(tile, out + 3 * 64);
  load_form<1, true>(tile, out + 7 * 64);
  load_form<2, true>(tile, out + 8 * 64);
  load_form<4, true>(tile, out + 10 * 64);
}

GPU_DEVICE uint32_t pair(float low, float high) {
  return uint32_t(bf16(low).bits) | uint32_t(bf16(high).bits) << 16;
}

GPU_KERNEL void mma_bf16_kernel(float* out) {
  const int lane = int(threadIdx.x), hot = int(blockIdx.x);
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i) {
    const int slot = (lane * 4 + i) * 2;
    a[i] = pair(slot == hot, slot + 1 == hot);
  }
  for (int i = 0; i < 2; ++i) {
    const int slot = (lane * 2 + i) * 2;
    b[i] = pair(float(slot + 1), float(slot + 2));
  }
  float d[4] = {};
  gpu::mma_m16n8k16_bf16(d, a, b);
  for (int i = 0; i < 4; ++i) out[hot * kAccumulatorSlots + lane * 4 + i] = d[i];
}

GPU_KERNEL void mma_tf32_kernel(float* out) {
  const int lane = int(threadIdx.x), hot = int(blockIdx.x);
  uint32_t a[4], b[2];
  for (int i = 0; i < 4; ++i) a[i] = gpu::to_tf32(lane * 4 + i == hot);
  for (int i = 0; i < 2; ++i) b[i] = gpu::to_tf32(float(lane * 2 + i + 1));
  float d[4] = {};
  gpu::mma_m16n8k8_tf32(d, a, b);
  for (int i = 0; i < 4; ++i) out[hot * kAccumulatorSlots + lane * 4 + i] = d[i];
}

GPU_KERNEL void accumulator_kernel(float* out) {
  const int lane = int(threadIdx.x);
  const uint32_t a[4] = {}, b[2] = {};
  float d[4], e[4];
  for (int i = 0; i < 4; ++i) {
    d[i] = float(lane * 4 + i + 1);
    e[i] = 2 * d[i];
  }
  gpu::mma_m16n8k16_bf16(d, a, b);
  gpu::mma_m16n8k8_tf32(e, a, b);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = d[i] + e[i];
}

GPU_KERNEL void cluster_kernel(uint32_t* out) {
  GPU_SHARED(number, uint32_t);
  GPU_DYN_SHARED(raw);
  uint32_t* copies = gpu::carve<uint32_t>(raw, 3);
  uint32_t* sums = gpu::carve<uint32_t>(raw, kClusterSize);
  uint32_t* words = gpu::carve<uint32_t>(raw, kClusterSize);
  uint32_t* pairs = gpu::carve<uint32_t>(raw, 2 * kClusterSize);
  const uint32_t me = blockIdx.y * gridDim.x + blockIdx.x;
  const int r = int(threadIdx.x), rank = gpu::cluster_rank();  // a thread for each rank
  if (r == 0) number = copies[2] = me;
  sums[r] = 1000;
  gpu::cluster_sync();
  gpu::store_vec(gpu::cluster_map(pairs, r) + 2 * rank, gpu::Vec<uint32_t, 2>{{me, me + 1}});
  gpu::store_relaxed(gpu::cluster_map(words, r) + rank, me);
  gpu::atomic_add(gpu::cluster_map(sums + rank, r), me);
  gpu::cluster_sync();
  uint32_t* to = out + (me * kClusterSize + uint32_t(r)) * kClusterWays;
  to[0] = *gpu::cluster_map(&number, r);
  to[1] = gpu::cluster_map(copies, r)[2];
  to[2] = pairs[2 * r] + pairs[2 * r + 1];
  to[3] = words[r];
  to[4] = sums[r];
  gpu::cluster_sync();
}
gpu::Launch cluster_launch() {
  gpu::Launch shape{.grid = dim3(kClusterBlocks / 2, 2), .block = kClusterSize};
  shape.shared_bytes = gpu::carve_bytes<uint32_t>(3) +
                       2 * gpu::carve_bytes<uint32_t>(kClusterSize) +
                       gpu::carve_bytes<uint32_t>(2 * kClusterSize);
  shape.cluster = kClusterSize;
  return shape;
}

}  // namespace

void probe_ldmatrix(uint32_t* out, CUstream_st* stream) {
  gpu::launch(ldmatrix_kernel, gpu::Launch{.block = 32}, stream, out);
}
void probe_mma_bf16(float* out, CUstream_st* stream) {
  gpu::launch(mma_bf16_kernel, gpu::Launch{.grid = kBf16Slots, .block = 32}, stream, out);
}
void probe_mma_tf32(float* out, CUstream_st* stream) {
  gpu::launch(mma_tf32_kernel, gpu::Launch{.grid = kTf32Slots, .block = 32}, stream, out);
}
void probe_accumulator(float* out, CUstream_st* stream) {
  gpu::launch(accumulator_kernel, gpu::Launch{.block = 32}, stream, out);
}
void probe_clusters(uint32_t* out, CUstream_st* stream) {
  gpu::launch(cluster_kernel, cluster_launch(), stream, out);
}
bool has_clusters() { return gpu::resident_clusters(cluster_kernel, cluster_launch()) > 0; }

}  // namespace unroll
