// Small kernels with one mistake each, chosen by a template argument, and their correct twins:
// inside a block.
#include "tests/gpu_on_cpu/planted_bugs.cuh"

namespace unroll::gpu_on_cpu {
namespace {

// --- barriers in reductions ---------------------------------------------------------------------

template <bool Planted>
GPU_KERNEL void reduce_kernel(const float* x, float* y) {
  GPU_SHARED(partial, float[kWarps]);
  const int tid = int(threadIdx.x);
  const float v = sum_in_warp(x[blockIdx.x * kThreads + tid]);
  if (tid % 32 == 0) partial[tid / 32] = v;
  if constexpr (!Planted) gpu::sync_threads();
  float s = 0;
  for (int w = 0; w < kWarps; ++w) s += partial[w];  // planted:missing_sync_in_reduce
  y[blockIdx.x * kThreads + tid] = s;
}
}  // namespace

bool missing_sync_in_reduce(bool planted) {
  const std::vector<float> x = ramp(kBlocks * kThreads);
  DeviceArray<float> in(x), out(x.size());
  PLANTABLE(reduce_kernel, gpu::Launch{.grid = kBlocks, .block = kThreads}, nullptr, in.data(),
            out.data());
  return all_near(out, [&](size_t i) { return sum_of(x, i / kThreads * kThreads, kThreads); });
}

namespace {

template <bool Planted>
GPU_KERNEL void reuse_kernel(const float* x, float* y) {
  GPU_SHARED(scratch, float[kThreads]);
  const int tid = int(threadIdx.x);
  scratch[tid] = x[tid];
  gpu::sync_threads();
  float first = 0;
  for (int i = 0; i < kThreads; ++i) first += scratch[i];  // planted:scratch_reuse
  if constexpr (!Planted) gpu::sync_threads();
  scratch[tid] = 2 * x[tid];  // planted:scratch_reuse
  gpu::sync_threads();
  float second = 0;
  for (int i = 0; i < kThreads; ++i) second += scratch[i];
  y[tid] = first + second;
}
}  // namespace

bool scratch_reuse(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(x.size());
  PLANTABLE(reuse_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t) { return 3 * sum_of(x, 0, kThreads); });
}

namespace {

// Each warp computes one gate, each thread then combines the four of its unit.
template <bool Planted>
GPU_KERNEL void gates_kernel(const float* x, float* y) {
  GPU_SHARED(gate, float[4][32]);
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  gate[warp][lane] = x[threadIdx.x] * 0.5f;
  if constexpr (!Planted) gpu::sync_threads();
  if (warp == 1)
    y[lane] = gate[0][lane] + gate[1][lane] * gate[2][lane] + gate[3][lane];  // planted:gate_sums
}
}  // namespace

bool gate_sums(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(32);
  PLANTABLE(gates_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(
      out, [&](size_t i) { return 0.5 * x[i] + 0.25 * x[32 + i] * x[64 + i] + 0.5 * x[96 + i]; });
}

namespace {

// Online softmax: every warp has a maximum and a sum relative to it; warp 0 joins them.
template <bool Planted>
GPU_KERNEL void softmax_kernel(const float* x, float* y) {
  GPU_SHARED(warp_max, float[kWarps]);
  GPU_SHARED(warp_sum, float[kWarps]);
  const int lane = int(threadIdx.x) % 32, warp = int(threadIdx.x) / 32;
  const float v = x[threadIdx.x];
  float m = v;
  for (int d = 16; d > 0; d /= 2) {
    const float other = gpu::shfl_xor(gpu::kFullMask, m, d);
    m = other > m ? other : m;
  }
  const float s = sum_in_warp(std::exp(v - m));
  if (lane == 0) {
    warp_max[warp] = m;
    warp_sum[warp] = s;
  }
  if constexpr (!Planted) gpu::sync_threads();
  if (threadIdx.x == 32) {
    float top = -1e30f, total = 0;
    for (int w = 0; w < kWarps; ++w) top = std::fmax(top, warp_max[w]);  // planted:softmax_join
    for (int w = 0; w < kWarps; ++w)
      total += warp_sum[w] * std::exp(warp_max[w] - top);  // planted:softmax_join
    *y = top + std::log(total);
  }
}
}  // namespace

bool softmax_join(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(1);
  PLANTABLE(softmax_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  double total = 0;
  for (float v : x) total += std::exp(double(v));
  return all_near(out, [&](size_t) { return std::log(total); });
}

namespace {

// One thread says whether the block goes on to a second stage, which has a barrier.
template <bool Planted>
GPU_KERNEL void flag_kernel(float* y) {
  GPU_SHARED(go_on, bool);
  if (threadIdx.x == 70) go_on = blockIdx.x % 2 == 0;
  if constexpr (!Planted) gpu::sync_threads();
  if (!go_on) {  // planted:shared_flag
    y[blockIdx.x * kThreads + threadIdx.x] = 1;
    return;
  }
  gpu::sync_threads();  // planted:shared_flag
  y[blockIdx.x * kThreads + threadIdx.x] = 2;
}
}  // namespace

bool shared_flag(bool planted) {
  DeviceArray<float> out(kBlocks * kThreads);
  PLANTABLE(flag_kernel, gpu::Launch{.grid = kBlocks, .block = kThreads}, nullptr, out.data());
  return all_near(out, [](size_t i) { return i / kThreads % 2 ? 1 : 2; });
}

namespace {

// --- asynchronous copies
// --------------------------------------------------------------------------

enum class CopyBug { none, no_barrier, no_wait };
template <CopyBug Bug>
GPU_KERNEL void copy_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[4 * kThreads]);
  const int tid = int(threadIdx.x);
  gpu::cp_async16(&tile[4 * tid], &x[4 * tid]);
  gpu::cp_async_commit();
  if constexpr (Bug != CopyBug::no_wait) gpu::cp_async_wait<0>();
  if constexpr (Bug != CopyBug::no_barrier) gpu::sync_threads();
  // Element tid of the tile was copied by another thread.
  const int from = (4 * tid + 37 * 4) % (4 * kThreads);
  y[tid] = tile[from] + tile[from + 3];  // planted:copy_barrier planted:copy_wait
}
bool run_copy(void (*kernel)(const float*, float*)) {
  const std::vector<float> x = ramp(4 * kThreads);
  DeviceArray<float> in(x), out(kThreads);
  gpu::launch(kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) {
    const size_t from = (4 * i + 37 * 4) % (4 * kThreads);
    return x[from] + x[from + 3];
  });
}
}  // namespace

bool copy_barrier(bool planted) {
  return run_copy(planted ? copy_kernel<CopyBug::no_barrier> : copy_kernel<CopyBug::none>);
}

bool copy_wait(bool planted) {
  return run_copy(planted ? copy_kernel<CopyBug::no_wait> : copy_kernel<CopyBug::none>);
}

namespace {

// --- threads that disagree -----------------------------------------------------------------------

template <bool Planted>
GPU_KERNEL void divergent_kernel(float* y) {
  GPU_SHARED(tmp, float[kThreads]);
  tmp[threadIdx.x] = float(threadIdx.x);
  if constexpr (Planted) {
    if (threadIdx.x < 40)
      gpu::sync_threads();  // planted:divergent_barrier
    else
      gpu::sync_threads();  // planted:divergent_barrier
  } else {
    gpu::sync_threads();
  }
  y[threadIdx.x] = tmp[kThreads - 1 - threadIdx.x];
}
}  // namespace

bool divergent_barrier(bool planted) {
  DeviceArray<float> out(kThreads);
  PLANTABLE(divergent_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data());
  return all_near(out, [](size_t i) { return kThreads - 1 - i; });
}

namespace {

template <bool Planted>
GPU_KERNEL void return_kernel(float* y, int n) {
  GPU_SHARED(tmp, float[kThreads]);
  const int i = int(threadIdx.x);
  if (Planted && i >= n) return;
  tmp[i] = float(i);
  gpu::sync_threads();  // planted:early_return
  if (i < n) y[i] = tmp[n - 1 - i];
}
}  // namespace

bool early_return(bool planted) {
  constexpr int n = 101;
  DeviceArray<float> out(n);
  PLANTABLE(return_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data(), n);
  return all_near(out, [](size_t i) { return n - 1 - i; });
}

namespace {

template <bool Planted>
GPU_KERNEL void mask_kernel(float* y) {
  const uint32_t mask = Planted ? 0x0000ffffu : gpu::kFullMask;
  y[threadIdx.x] = gpu::shfl_xor(mask, float(threadIdx.x), 1);  // planted:small_mask
}
}  // namespace

bool small_mask(bool planted) {
  DeviceArray<float> out(32);
  PLANTABLE(mask_kernel, gpu::Launch{.block = 32}, nullptr, out.data());
  return all_near(out, [](size_t i) { return i ^ 1; });
}

namespace {

template <bool Planted>
GPU_KERNEL void branch_kernel(float* y) {
  const int lane = int(threadIdx.x) % 32;
  float v = float(lane);
  if (lane < 20) {
    const uint32_t mask = Planted ? gpu::kFullMask : (1u << 20) - 1;
    v = gpu::shfl(mask, v, 3);  // planted:full_mask_in_branch
  }
  gpu::sync_threads();  // planted:full_mask_in_branch
  y[threadIdx.x] = v;
}
}  // namespace

bool full_mask_in_branch(bool planted) {
  DeviceArray<float> out(kThreads);
  PLANTABLE(branch_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data());
  return all_near(out, [](size_t i) { return i % 32 < 20 ? 3 : i % 32; });
}

namespace {

// --- addresses
// -------------------------------------------------------------------------------------

template <bool Planted>
GPU_KERNEL void shift_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[kThreads]);
  const int tid = int(threadIdx.x);
  tile[tid] = x[tid];
  gpu::sync_threads();
  const int next = Planted ? tid + 1 : (tid + 1) % kThreads;
  y[tid] = tile[next];  // planted:shared_index
}
}  // namespace

bool shared_index(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(kThreads);
  PLANTABLE(shift_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[(i + 1) % kThreads]; });
}

namespace {

template <bool Planted>
GPU_KERNEL void vector_kernel(gpu::Vec<float, 4>* y) {
  const int tid = int(threadIdx.x);
  gpu::Vec<float, 4> v;
  for (int i = 0; i < 4; ++i) v[i] = float(4 * tid + i);
  y[tid + Planted] = v;  // planted:global_store
}
}  // namespace

bool global_store(bool planted) {
  DeviceArray<gpu::Vec<float, 4>> out(kThreads);
  PLANTABLE(vector_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data());
  const auto values = out.values();
  for (int i = 0; i < 4 * kThreads; ++i)
    if (!near(values[size_t(i) / 4][i % 4], i)) return false;
  return true;
}

namespace {

template <bool Planted>
GPU_KERNEL void slot_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[kThreads + 1]);
  const int tid = int(threadIdx.x);
  tile[tid + 1] = x[tid];
  if (!Planted && tid == 0) tile[0] = 0;
  gpu::sync_threads();
  y[tid] = tile[tid + 1] - tile[tid];  // planted:unset_slot
}
}  // namespace

bool unset_slot(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(kThreads);
  PLANTABLE(slot_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[i] - (i ? x[i - 1] : 0); });
}

// Defined in planted_grid_bugs.cu.
bool grid_missing(bool planted);
bool grid_low(bool planted);
bool grid_never(bool planted);
bool plain_add(bool planted);
bool missing_fence(bool planted);
bool torn_vector(bool planted);
bool misaligned_vector(bool planted);
bool missing_sync_warp(bool planted);
bool not_cooperative(bool planted);
bool early_read(bool planted);
bool never_waits(bool planted);
// Defined in planted_cluster_bugs.cu.
bool cluster_no_start(bool planted);
bool cluster_no_barrier(bool planted);
bool cluster_exited(bool planted);
bool cluster_wrong_rank(bool planted);
bool cluster_wrong_pointer(bool planted);
bool cluster_divergent(bool planted);
bool cluster_two_kinds(bool planted);
bool cluster_left(bool planted);
bool cluster_is_no_grid(bool planted);

const PlantedBug kPlantedBugs[] = {
    {"missing_sync_in_reduce", missing_sync_in_reduce, "wrong", "", "uninitialised"},
    {"scratch_reuse", scratch_reuse, "wrong", "", "race(read-write) race(write-read)"},
    {"copy_barrier", copy_barrier, "wrong", "", "uninitialised async-copy"},
    {"copy_wait", copy_wait, "wrong", "", "uninitialised async-copy"},
    {"gate_sums", gate_sums, "wrong", "", "uninitialised race(write-read)"},
    {"softmax_join", softmax_join, "wrong", "", "uninitialised race(write-read)"},
    {"shared_flag", shared_flag, "exited-threads barrier-divergence", "ubsan exited-threads",
     "uninitialised race(write-read)"},
    {"divergent_barrier", divergent_barrier, "barrier-divergence", "", "barrier-divergence"},
    {"early_return", early_return, "exited-threads", "", "exited-threads"},
    {"shared_index", shared_index, "wrong", "ubsan asan", "out-of-bounds"},
    {"global_store", global_store, "out-of-bounds", "asan", "out-of-bounds"},
    {"grid_missing", grid_missing, "wrong", "", "uninitialised race(write-read)"},
    {"grid_low", grid_low, "wrong", "", "uninitialised race(write-read)"},
    {"grid_never", grid_never, "livelock", "", "livelock"},
    {"small_mask", small_mask, "warp-mask", "", "warp-mask"},
    {"full_mask_in_branch", full_mask_in_branch, "deadlock", "", "deadlock"},
    {"unset_slot", unset_slot, "wrong", "", "uninitialised"},
    {"plain_add", plain_add, "missed", "", "race(write-read) race(write-write) race(read-write)"},
    {"missing_fence", missing_fence, "missed", "", "race(write-read)"},
    {"torn_vector", torn_vector, "wrong", "", "wrong"},
    {"misaligned_vector", misaligned_vector, "misaligned", "", "misaligned"},
    {"missing_sync_warp", missing_sync_warp, "wrong", "", "uninitialised race(write-read)"},
    {"not_cooperative", not_cooperative, "launch", "", "launch"},
    {"early_read", early_read, "missed", "", "early-start"},
    {"never_waits", never_waits, "early-start", "", "early-start"},
    {"cluster_no_start", cluster_no_start, "missed", "", "cluster-start"},
    {"cluster_no_barrier", cluster_no_barrier, "wrong", "", "uninitialised race(write-read)"},
    {"cluster_exited", cluster_exited, "wrong", "asan", "exited-block"},
    {"cluster_wrong_rank", cluster_wrong_rank, "cluster-map", "", "cluster-map"},
    {"cluster_wrong_pointer", cluster_wrong_pointer, "cluster-map", "", "cluster-map"},
    {"cluster_divergent", cluster_divergent, "barrier-divergence", "", "barrier-divergence"},
    {"cluster_two_kinds", cluster_two_kinds, "barrier-divergence", "", "barrier-divergence"},
    {"cluster_left", cluster_left, "exited-threads", "", "exited-threads"},
    {"cluster_is_no_grid", cluster_is_no_grid, "wrong", "", "uninitialised race(write-read)"},
};
const int kPlantedBugCount = int(sizeof kPlantedBugs / sizeof kPlantedBugs[0]);

}  // namespace unroll::gpu_on_cpu
