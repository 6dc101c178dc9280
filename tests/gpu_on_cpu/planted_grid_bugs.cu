// Small kernels with one mistake each, chosen by a template argument, and their correct twins:
// across blocks and warps.
#include "tests/gpu_on_cpu/planted_bugs.cuh"

namespace unroll::gpu_on_cpu {
namespace {

// --- the whole grid
// -------------------------------------------------------------------------------

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
      const uint32_t wait_for = Bug == GridBug::low_target    ? target - 1
                                : Bug == GridBug::high_target ? target + 1
                                                              : target;
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
}  // namespace

bool grid_missing(bool planted) {
  return run_recurrent(planted ? recurrent_kernel<GridBug::missing>
                               : recurrent_kernel<GridBug::none>);
}

bool grid_low(bool planted) {
  return run_recurrent(planted ? recurrent_kernel<GridBug::low_target>
                               : recurrent_kernel<GridBug::none>);
}

bool grid_never(bool planted) {
  return run_recurrent(planted ? recurrent_kernel<GridBug::high_target>
                               : recurrent_kernel<GridBug::none>);
}

namespace {

template <bool Planted>
GPU_KERNEL void count_kernel(float* y) {
  if constexpr (Planted)
    y[threadIdx.x % 7] += 1;  // planted:plain_add
  else
    gpu::atomic_add(&y[threadIdx.x % 7], 1.0f);
}
}  // namespace

bool plain_add(bool planted) {
  DeviceArray<float> out(7, 0.0f);
  PLANTABLE(count_kernel, gpu::Launch{.grid = kBlocks, .block = 70}, nullptr, out.data());
  return all_near(out, [](size_t) { return kBlocks * 10; });
}

namespace {

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
}  // namespace

bool missing_fence(bool planted) {
  const std::vector<float> x = ramp(kBlocks * 32);
  DeviceArray<float> in(x), partial(kBlocks), out(1);
  DeviceArray<uint32_t> finished(1, 0u);
  PLANTABLE(last_block_kernel, gpu::Launch{.grid = kBlocks, .block = 32}, nullptr, in.data(),
            partial.data(), finished.data(), out.data());
  return all_near(out, [&](size_t) { return sum_of(x, 0, x.size()); });
}

namespace {

// --- beyond the matrix of the prototype
// -----------------------------------------------------------

// Block 0 publishes values with their own flag in 16 bytes; the planted reader trusts the first
// word.
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
}  // namespace

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

namespace {

template <bool Planted>
GPU_KERNEL void odd_row_kernel(const float* x, float* y) {
  const auto v = gpu::load_vec<4>(x + 4 * threadIdx.x + Planted);  // planted:misaligned_vector
  y[threadIdx.x] = v[0] + v[3];
}
}  // namespace

bool misaligned_vector(bool planted) {
  const std::vector<float> x = ramp(4 * 32 + 4);
  DeviceArray<float> in(x), out(32);
  PLANTABLE(odd_row_kernel, gpu::Launch{.block = 32}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[4 * i] + x[4 * i + 3]; });
}

namespace {

// A warp hands numbers from lane to lane through shared memory.
template <bool Planted>
GPU_KERNEL void warp_kernel(const float* x, float* y) {
  GPU_SHARED(tile, float[32]);
  const int lane = int(threadIdx.x);
  tile[lane] = x[lane];
  if constexpr (!Planted) gpu::sync_warp();
  y[lane] = tile[31 - lane];  // planted:missing_sync_warp
}
}  // namespace

bool missing_sync_warp(bool planted) {
  const std::vector<float> x = ramp(32);
  DeviceArray<float> in(x), out(32);
  PLANTABLE(warp_kernel, gpu::Launch{.block = 32}, nullptr, in.data(), out.data());
  return all_near(out, [&](size_t i) { return x[31 - i]; });
}

namespace {

template <bool Planted>
GPU_KERNEL void grid_sync_kernel(float* h) {
  h[blockIdx.x] = float(blockIdx.x);
  gpu::grid_sync();  // planted:not_cooperative
  h[gridDim.x + blockIdx.x] = h[gridDim.x - 1 - blockIdx.x];
}
}  // namespace

bool not_cooperative(bool planted) {
  DeviceArray<float> h(2 * kBlocks);
  PLANTABLE(grid_sync_kernel, gpu::Launch{.grid = kBlocks, .block = 1, .cooperative = !planted},
            nullptr, h.data());
  return all_near(h, [](size_t i) { return i < kBlocks ? i : 2 * kBlocks - 1 - i; });
}

namespace {

// y = w x, where x comes from the kernel before and w was there all along.
GPU_KERNEL void first_kernel(const float* w, float* x) {
  x[blockIdx.x * kThreads + threadIdx.x] = w[blockIdx.x * kThreads + threadIdx.x] + 1;
}
template <bool Planted>
GPU_KERNEL void early_kernel(const float* w, const float* x, float* y) {
  const unsigned i = (gridDim.x - 1 - blockIdx.x) * kThreads + threadIdx.x;
  const float weight = w[i];
  float v = 0;
  if constexpr (Planted) v = x[i];  // planted:early_read
  gpu::wait_for_previous();
  if constexpr (!Planted) v = x[i];
  y[i] = weight * v;
}
template <bool Planted>
GPU_KERNEL void unwaited_kernel(const float* w, float* y) {
  if constexpr (!Planted) gpu::wait_for_previous();
  y[threadIdx.x] = w[threadIdx.x];
}
}  // namespace

bool early_read(bool planted) {
  const std::vector<float> w = ramp(kBlocks * kThreads);
  DeviceArray<float> in(w), x(w.size()), y(w.size());
  const gpu::Launch shape{.grid = kBlocks, .block = kThreads};
  gpu::launch(first_kernel, shape, nullptr, in.data(), x.data());
  gpu::Launch early = shape;
  early.early_start = true;
  PLANTABLE(early_kernel, early, nullptr, in.data(), x.data(), y.data());
  return all_near(y, [&](size_t i) { return w[i] * (w[i] + 1); });
}

bool never_waits(bool planted) {
  const std::vector<float> w = ramp(kThreads);
  DeviceArray<float> in(w), y(w.size());
  const gpu::Launch shape{.block = kThreads, .early_start = true};  // planted:never_waits
  PLANTABLE(unwaited_kernel, shape, nullptr, in.data(), y.data());
  return all_near(y, [&](size_t i) { return w[i]; });
}

}  // namespace unroll::gpu_on_cpu
