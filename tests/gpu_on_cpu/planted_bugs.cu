// Small kernels with one mistake each, chosen by a template argument, and their correct twins.
#include "tests/gpu_on_cpu/planted_bugs.h"

#include <cmath>

#include "kernels/base/gpu.h"
#include "tests/gpu_on_cpu/device_array.h"

namespace unroll::gpu_on_cpu {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / 32, kBlocks = 5;
constexpr float kLarge = -1e30f;

// NaN is not near anything.
bool near(float a, double b) { return std::fabs(a - b) <= 1e-4 * (1 + std::fabs(b)); }
std::vector<float> ramp(size_t n) {
  std::vector<float> x(n);
  for (size_t i = 0; i < n; ++i) x[i] = float(i % 17) - 5.5f + float(i % 5) * 0.25f;
  return x;
}
double sum_of(const std::vector<float>& x, size_t first, size_t n) {
  double s = 0;
  for (size_t i = 0; i < n; ++i) s += x[first + i];
  return s;
}
template <class F>
bool all_near(const DeviceArray<float>& y, F expected) {
  const std::vector<float> values = y.values();
  for (size_t i = 0; i < values.size(); ++i)
    if (!near(values[i], expected(i))) return false;
  return true;
}
#define PLANTABLE(kernel, ...) \
  planted ? gpu::launch(kernel<true>, __VA_ARGS__) : gpu::launch(kernel<false>, __VA_ARGS__)

GPU_DEVICE float sum_in_warp(float v) {
  for (int d = 16; d > 0; d /= 2) v += gpu::shfl_xor(gpu::kFullMask, v, d);
  return v;
}

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
bool missing_sync_in_reduce(bool planted) {
  const std::vector<float> x = ramp(kBlocks * kThreads);
  DeviceArray<float> in(x), out(x.size());
  PLANTABLE(reduce_kernel, gpu::Launch{.grid = kBlocks, .block = kThreads}, nullptr, in.data(),
            out.data());
  return all_near(out, [&](size_t i) { return sum_of(x, i / kThreads * kThreads, kThreads); });
}

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
bool scratch_reuse(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(x.size());
  PLANTABLE(reuse_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t) { return 3 * sum_of(x, 0, kThreads); });
}

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
bool gate_sums(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(32);
  PLANTABLE(gates_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) {
    return 0.5 * x[i] + 0.25 * x[32 + i] * x[64 + i] + 0.5 * x[96 + i];
  });
}

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
    float top = kLarge, total = 0;
    for (int w = 0; w < kWarps; ++w) top = std::fmax(top, warp_max[w]);  // planted:softmax_join
    for (int w = 0; w < kWarps; ++w)
      total += warp_sum[w] * std::exp(warp_max[w] - top);  // planted:softmax_join
    *y = top + std::log(total);
  }
}
bool softmax_join(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(1);
  PLANTABLE(softmax_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  double total = 0;
  for (float v : x) total += std::exp(double(v));
  return all_near(out, [&](size_t) { return std::log(total); });
}

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
bool shared_flag(bool planted) {
  DeviceArray<float> out(kBlocks * kThreads);
  PLANTABLE(flag_kernel, gpu::Launch{.grid = kBlocks, .block = kThreads}, nullptr, out.data());
  return all_near(out, [](size_t i) { return i / kThreads % 2 ? 1 : 2; });
}

// --- asynchronous copies --------------------------------------------------------------------------

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
bool copy_barrier(bool planted) {
  return run_copy(planted ? copy_kernel<CopyBug::no_barrier> : copy_kernel<CopyBug::none>);
}
bool copy_wait(bool planted) {
  return run_copy(planted ? copy_kernel<CopyBug::no_wait> : copy_kernel<CopyBug::none>);
}

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
bool divergent_barrier(bool planted) {
  DeviceArray<float> out(kThreads);
  PLANTABLE(divergent_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data());
  return all_near(out, [](size_t i) { return kThreads - 1 - i; });
}

template <bool Planted>
GPU_KERNEL void return_kernel(float* y, int n) {
  GPU_SHARED(tmp, float[kThreads]);
  const int i = int(threadIdx.x);
  if (Planted && i >= n) return;
  tmp[i] = float(i);
  gpu::sync_threads();  // planted:early_return
  if (i < n) y[i] = tmp[n - 1 - i];
}
bool early_return(bool planted) {
  constexpr int n = 101;
  DeviceArray<float> out(n);
  PLANTABLE(return_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data(), n);
  return all_near(out, [](size_t i) { return n - 1 - i; });
}

template <bool Planted>
GPU_KERNEL void mask_kernel(float* y) {
  const uint32_t mask = Planted ? 0x0000ffffu : gpu::kFullMask;
  y[threadIdx.x] = gpu::shfl_xor(mask, float(threadIdx.x), 1);  // planted:small_mask
}
bool small_mask(bool planted) {
  DeviceArray<float> out(32);
  PLANTABLE(mask_kernel, gpu::Launch{.block = 32}, nullptr, out.data());
  return all_near(out, [](size_t i) { return i ^ 1; });
}

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
bool full_mask_in_branch(bool planted) {
  DeviceArray<float> out(kThreads);
  PLANTABLE(branch_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data());
  return all_near(out, [](size_t i) { return i % 32 < 20 ? 3 : i % 32; });
}

// --- addresses -------------------------------------------------------------------------------------

template <bool Planted>
GPU_KERNEL void shift_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[kThreads]);
  const int tid = int(threadIdx.x);
  tile[tid] = x[tid];
  gpu::sync_threads();
  const int next = Planted ? tid + 1 : (tid + 1) % kThreads;
  y[tid] = tile[next];  // planted:shared_index
}
bool shared_index(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(kThreads);
  PLANTABLE(shift_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[(i + 1) % kThreads]; });
}

template <bool Planted>
GPU_KERNEL void vector_kernel(gpu::Vec<float, 4>* y) {
  const int tid = int(threadIdx.x);
  gpu::Vec<float, 4> v;
  for (int i = 0; i < 4; ++i) v[i] = float(4 * tid + i);
  y[tid + Planted] = v;  // planted:global_store
}
bool global_store(bool planted) {
  DeviceArray<gpu::Vec<float, 4>> out(kThreads);
  PLANTABLE(vector_kernel, gpu::Launch{.block = kThreads}, nullptr, out.data());
  const auto values = out.values();
  for (int i = 0; i < 4 * kThreads; ++i)
    if (!near(values[size_t(i) / 4][i % 4], i)) return false;
  return true;
}

template <bool Planted>
GPU_KERNEL void slot_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[kThreads + 1]);
  const int tid = int(threadIdx.x);
  tile[tid + 1] = x[tid];
  if (!Planted && tid == 0) tile[0] = 0;
  gpu::sync_threads();
  y[tid] = tile[tid + 1] - tile[tid];  // planted:unset_slot
}
bool unset_slot(bool planted) {
  const std::vector<float> x = ramp(kThreads);
  DeviceArray<float> in(x), out(kThreads);
  PLANTABLE(slot_kernel, gpu::Launch{.block = kThreads}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[i] - (i ? x[i - 1] : 0); });
}

// --- the whole grid -------------------------------------------------------------------------------

enum class GridBug { none, missing, low_target, high_target };
// h_t[i] = sum of h_{t-1} over all blocks, plus i: every step needs all blocks' last one.
template <GridBug Bug>
GPU_KERNEL void recurrent_kernel(float* h, uint32_t* arrived, int steps) {
  const int width = int(gridDim.x) * 32, me = int(blockIdx.x * 32 + threadIdx.x);
  h[me] = float(me % 3);
  uint32_t target = 0;
  for (int t = 1; t <= steps; ++t) {
    if constexpr (Bug != GridBug::missing) {
      target += gridDim.x;
      const uint32_t wait_for =
          Bug == GridBug::low_target ? target - 1 : Bug == GridBug::high_target ? target + 1 : target;
      gpu::sync_threads();
      if (threadIdx.x == 0) {
        gpu::red_release_add(arrived, 1u);
        while (gpu::load_acquire(arrived) < wait_for) {  // planted:grid_never
        }
      }
      gpu::sync_threads();
    }
    float s = 0;
    for (int j = 0; j < width; ++j)
      s += h[(t - 1) * width + j];  // planted:grid_missing planted:grid_low
    h[t * width + me] = 0.01f * s + float(me % 3);
  }
}
bool run_recurrent(void (*kernel)(float*, uint32_t*, int)) {
  constexpr int steps = 4, width = kBlocks * 32;
  DeviceArray<float> h((steps + 1) * width);
  DeviceArray<uint32_t> arrived(1, 0u);
  gpu::launch(kernel, gpu::Launch{.grid = kBlocks, .block = 32, .cooperative = true}, nullptr,
              h.data(), arrived.data(), steps);
  std::vector<double> expected(size_t(steps + 1) * width);
  for (size_t t = 0; t <= steps; ++t) {
    double s = 0;
    for (size_t j = 0; t && j < width; ++j) s += expected[(t - 1) * width + j];
    for (size_t i = 0; i < width; ++i) expected[t * width + i] = 0.01 * s + double(i % 3);
  }
  return all_near(h, [&](size_t i) { return expected[i]; });
}
bool grid_missing(bool planted) {
  return run_recurrent(planted ? recurrent_kernel<GridBug::missing> : recurrent_kernel<GridBug::none>);
}
bool grid_low(bool planted) {
  return run_recurrent(planted ? recurrent_kernel<GridBug::low_target>
                               : recurrent_kernel<GridBug::none>);
}
bool grid_never(bool planted) {
  return run_recurrent(planted ? recurrent_kernel<GridBug::high_target>
                               : recurrent_kernel<GridBug::none>);
}

template <bool Planted>
GPU_KERNEL void count_kernel(float* y) {
  if constexpr (Planted)
    y[threadIdx.x % 7] += 1;  // planted:plain_add
  else
    gpu::atomic_add(&y[threadIdx.x % 7], 1.0f);
}
bool plain_add(bool planted) {
  DeviceArray<float> out(7, 0.0f);
  PLANTABLE(count_kernel, gpu::Launch{.grid = kBlocks, .block = 70}, nullptr, out.data());
  return all_near(out, [](size_t) { return kBlocks * 10; });
}

// The last block to finish adds up what all blocks left.
template <bool Planted>
GPU_KERNEL void last_block_kernel(const float* x, float* partial, uint32_t* finished, float* y) {
  GPU_SHARED(is_last, uint32_t);
  const float s = sum_in_warp(x[blockIdx.x * 32 + threadIdx.x]);
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = s;  // planted:missing_fence
    if constexpr (!Planted) gpu::fence();
    is_last = gpu::atomic_add(finished, 1u) == gridDim.x - 1;
    gpu::fence();
  }
  gpu::sync_threads();
  if (is_last && threadIdx.x == 0) {
    float total = 0;
    for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];  // planted:missing_fence
    *y = total;
  }
}
bool missing_fence(bool planted) {
  const std::vector<float> x = ramp(kBlocks * 32);
  DeviceArray<float> in(x), partial(kBlocks), out(1);
  DeviceArray<uint32_t> finished(1, 0u);
  PLANTABLE(last_block_kernel, gpu::Launch{.grid = kBlocks, .block = 32}, nullptr, in.data(),
            partial.data(), finished.data(), out.data());
  return all_near(out, [&](size_t) { return sum_of(x, 0, x.size()); });
}

// --- beyond the matrix of the prototype -----------------------------------------------------------

// Block 0 publishes values with their own flag in 16 bytes; the planted reader trusts the first word.
template <bool Planted>
GPU_KERNEL void torn_kernel(gpu::Vec<uint32_t, 4>* slots, uint32_t* y, int rounds) {
  if (threadIdx.x != 0) return;
  for (int r = 0; r < rounds; ++r) {
    const uint32_t value = uint32_t(r) + 1;
    if (blockIdx.x == 0) {
      gpu::store_relaxed(&slots[r], {{value, value, value, value}});
    } else {
      gpu::Vec<uint32_t, 4> v;
      do {
        v = gpu::poll_relaxed(&slots[r]);
      } while (Planted ? v[0] != value
                       : v[0] != value || v[1] != value || v[2] != value || v[3] != value);
      y[r] = v[3];
    }
  }
}
bool torn_vector(bool planted) {
  constexpr int rounds = 64;
  DeviceArray<gpu::Vec<uint32_t, 4>> slots(rounds, gpu::Vec<uint32_t, 4>{{0, 0, 0, 0}});
  DeviceArray<uint32_t> out(rounds);
  PLANTABLE(torn_kernel, gpu::Launch{.grid = 2, .block = 32, .cooperative = true}, nullptr,
            slots.data(), out.data(), rounds);
  const std::vector<uint32_t> values = out.values();
  for (int r = 0; r < rounds; ++r)
    if (values[size_t(r)] != uint32_t(r) + 1) return false;
  return true;
}

template <bool Planted>
GPU_KERNEL void odd_row_kernel(const float* x, float* y) {
  const auto v = gpu::load_vec<4>(x + 4 * threadIdx.x + Planted);  // planted:misaligned_vector
  y[threadIdx.x] = v[0] + v[3];
}
bool misaligned_vector(bool planted) {
  const std::vector<float> x = ramp(4 * 32 + 4);
  DeviceArray<float> in(x), out(32);
  PLANTABLE(odd_row_kernel, gpu::Launch{.block = 32}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[4 * i] + x[4 * i + 3]; });
}

// A warp hands numbers from lane to lane through shared memory.
template <bool Planted>
GPU_KERNEL void warp_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[32]);
  const int lane = int(threadIdx.x);
  tile[lane] = x[lane];
  if constexpr (!Planted) gpu::sync_warp();
  y[lane] = tile[31 - lane];  // planted:missing_sync_warp
}
bool missing_sync_warp(bool planted) {
  const std::vector<float> x = ramp(32);
  DeviceArray<float> in(x), out(32);
  PLANTABLE(warp_kernel, gpu::Launch{.block = 32}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[31 - i]; });
}

template <bool Planted>
GPU_KERNEL void grid_sync_kernel(float* h) {
  h[blockIdx.x] = float(blockIdx.x);
  gpu::grid_sync();  // planted:not_cooperative
  h[gridDim.x + blockIdx.x] = h[gridDim.x - 1 - blockIdx.x];
}
bool not_cooperative(bool planted) {
  DeviceArray<float> h(2 * kBlocks);
  PLANTABLE(grid_sync_kernel, gpu::Launch{.grid = kBlocks, .block = 1, .cooperative = !planted},
            nullptr, h.data());
  return all_near(h, [](size_t i) { return i < kBlocks ? i : 2 * kBlocks - 1 - i; });
}

}  // namespace

const PlantedBug kPlantedBugs[] = {
    {"missing_sync_in_reduce", missing_sync_in_reduce, "wrong", "", "uninitialised", "lockstep"},
    {"scratch_reuse", scratch_reuse, "wrong", "", "race(read-write) race(write-read)",
     "lockstep random"},
    {"copy_barrier", copy_barrier, "wrong", "", "uninitialised async-copy", "lockstep random"},
    {"copy_wait", copy_wait, "wrong", "", "uninitialised async-copy", "random randwarp"},
    {"gate_sums", gate_sums, "wrong", "", "uninitialised race(write-read)", "lockstep random"},
    {"softmax_join", softmax_join, "wrong", "", "uninitialised race(write-read)", "lockstep random"},
    {"shared_flag", shared_flag, "exited-threads barrier-divergence", "ubsan exited-threads",
     "uninitialised race(write-read)", "lockstep random"},
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
};
const int kPlantedBugCount = int(sizeof kPlantedBugs / sizeof kPlantedBugs[0]);

}  // namespace unroll::gpu_on_cpu
