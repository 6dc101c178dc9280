// The engine: primitives of gpu.h and reduce.cuh against plain loops, replay of a seed,
// limits, guarded memory, the mutation hook.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/base/launch_count.h"
#include "tests/gpu_on_cpu/device_array.h"
#include "tests/gpu_on_cpu/engine_kernels.h"

namespace unroll::gpu_on_cpu {
namespace {

// The kind of the finding, or "" if there was none.
template <class F>
std::string kind_of(F f, std::string* text = nullptr) {
  try {
    f();
  } catch (const Finding& finding) {
    if (text) *text = finding.what();
    return finding.kind();
  }
  return "";
}

template <class T>
void test_reduce(double tolerance) {
  for (int threads : {32, 96, 1024}) {
    constexpr int blocks = 3;
    std::vector<T> x(size_t(blocks * threads));
    for (size_t i = 0; i < x.size(); ++i) x[i] = T(std::sin(double(i) * 1.7)) - T(1.5);
    DeviceArray<T> in(x), out(4 * x.size());
    launch_reduce(in.data(), out.data(), blocks, threads);
    const std::vector<T> y = out.values();
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t warp = i / 32 * 32, block = i / size_t(threads) * size_t(threads);
      const auto sum = [&](size_t first, size_t n) {
        return std::accumulate(x.begin() + long(first), x.begin() + long(first + n), 0.0);
      };
      ASSERT_NEAR(double(y[4 * i]), sum(warp, 32), tolerance);
      ASSERT_EQ(y[4 * i + 1],
                *std::max_element(x.begin() + long(warp), x.begin() + long(warp + 32)));
      ASSERT_NEAR(double(y[4 * i + 2]), sum(block, size_t(threads)), tolerance * 30);
      ASSERT_EQ(y[4 * i + 3], *std::max_element(x.begin() + long(block),
                                                x.begin() + long(block + size_t(threads))));
      // Every thread has the same bits.
      ASSERT_EQ(y[4 * i], y[4 * warp]);
      ASSERT_EQ(y[4 * i + 2], y[4 * block + 2]);
    }
  }
}
TEST(Reduce, SumsAndMaximaF32) { test_reduce<float>(1e-5); }
TEST(Reduce, SumsAndMaximaF64) { test_reduce<double>(1e-13); }

TEST(GridBarrier, EveryStepSeesAllBlocks) {
  constexpr int blocks = 7, steps = 6;
  DeviceArray<uint32_t> counts(steps, 0u), arrived(1, 0u), out(blocks);
  launch_grid_barriers(counts.data(), arrived.data(), out.data(), blocks, steps);
  for (uint32_t seen : out.values()) EXPECT_EQ(seen, uint32_t(blocks * steps));
}

TEST(Clusters, BlocksAddUpWhatTheOthersHave) {
  constexpr int blocks = 16, n = 52, rounds = 2;
  std::vector<float> x(size_t(rounds * blocks * n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = float(i % 23) - 7;
  DeviceArray<float> in(x);
  for (const int cluster : {1, 2, 4, 8})
    for (const bool cooperative : {false, true}) {
      DeviceArray<float> out(x.size());
      launch_cluster_sums(in.data(), out.data(), n, cluster, rounds, cooperative);
      const std::vector<float> y = out.values();
      for (int i = 0; i < int(y.size()); ++i) {
        const int round = i / (blocks * n), block = i / n % blocks, first = block - block % cluster;
        float sum = float(block % cluster);
        for (int r = 0; r < cluster; ++r)
          sum += float(round + r + 1) * x[size_t((round * blocks + first + r) * n + i % n)];
        ASSERT_EQ(y[size_t(i)], sum) << "cluster of " << cluster << ", number " << i;
      }
    }
}
TEST(Clusters, BlocksWaitForEachOther) {
  constexpr int blocks = 24;
  for (const int cluster : {1, 2, 8}) {
    DeviceArray<float> out(blocks);
    launch_cluster_ring(out.data(), blocks, cluster);
    const std::vector<float> y = out.values();
    for (int b = 0; b < blocks; ++b)
      EXPECT_EQ(y[size_t(b)], (b % cluster ? y[size_t(b - 1)] : 0) + float(b));
  }
}
TEST(Clusters, BarrierPassesOnWhatTheOthersWrote) {
  constexpr int blocks = 12;
  for (const int cluster : {1, 2, 4}) {
    DeviceArray<float> x(blocks), out(blocks * 40);
    DeviceArray<uint32_t> told(1, 0u);
    launch_cluster_relay(x.data(), told.data(), out.data(), blocks, cluster);
    for (const float sum : out.values()) EXPECT_EQ(sum, blocks * (blocks + 1) / 2);
  }
}
TEST(Clusters, AsManyAsTheDeviceHolds) {
  // One block on a multiprocessor, in processing clusters of 16 and 18 of them.
  EXPECT_EQ(resident_clusters_of(256, 200 * 1024, 1), 132);
  EXPECT_EQ(resident_clusters_of(256, 200 * 1024, 2), 66);
  EXPECT_EQ(resident_clusters_of(256, 200 * 1024, 4), 32);
  EXPECT_EQ(resident_clusters_of(256, 200 * 1024, 8), 16);
  EXPECT_EQ(resident_clusters_of(256, 100 * 1024, 4), 66);
  EXPECT_EQ(resident_clusters_of(256, 0, 16), 0);
  EXPECT_EQ(kind_of([] { launch_empty(128, 32, 200 * 1024, true, 8); }), "");
  EXPECT_EQ(kind_of([] { launch_empty(136, 32, 200 * 1024, true, 8); }), "limit");
  EXPECT_EQ(kind_of([] { launch_empty(136, 32, 200 * 1024, false, 8); }), "");
  for (const unsigned refused : {0u, 3u, 16u})
    EXPECT_EQ(kind_of([=] { launch_empty(16, 32, 0, false, refused); }), "limit") << refused;
}

std::vector<uint32_t> order_of_threads(uint64_t seed) {
  constexpr int blocks = 4, threads = 70;
  options().seed = seed;
  DeviceArray<uint32_t> position(1, 0u), order(3 * blocks * threads);
  launch_order(position.data(), order.data(), blocks, threads);
  options().seed = 1;
  return order.values();
}
TEST(Orders, SeedReplaysExactlyAndAnotherDoesNot) {
  EXPECT_EQ(order_of_threads(5), order_of_threads(5));
  const bool random = options().order == Order::random || options().order == Order::randwarp;
  EXPECT_EQ(order_of_threads(5) != order_of_threads(6), random);
}
TEST(Orders, GreedyOnesFollowTheWarps) {
  const std::vector<uint32_t> order = order_of_threads(1);
  const Order o = options().order;
  for (uint32_t i = 0; i < 70; ++i) {
    if (o == Order::ascend || o == Order::lockstep) {
      EXPECT_EQ(order[i], i);
    }
    if (o == Order::descend) {
      EXPECT_EQ(order[i], 4 * 70 - 1 - i);
    }
  }
}

TEST(Limits, AreThoseOfTheDevice) {
  std::string text;
  EXPECT_EQ(kind_of([] { launch_empty(1, 1024, 227 * 1024, false); }), "");
  EXPECT_EQ(kind_of([] { launch_empty(1, 1025, 0, false); }, &text), "limit");
  EXPECT_NE(text.find("1025 threads"), std::string::npos) << text;
  EXPECT_NE(text.find("engine_kernels.cu:"), std::string::npos) << text;
  EXPECT_EQ(kind_of([] { launch_empty(1, 32, 227 * 1024 + 1, false); }), "limit");
  EXPECT_EQ(kind_of([] { launch_empty(0, 32, 0, false); }), "limit");
  EXPECT_EQ(kind_of([] { launch_empty(132, 32, 200 * 1024, true); }), "");
  EXPECT_EQ(kind_of([] { launch_empty(133, 32, 200 * 1024, true); }), "limit");
  EXPECT_EQ(kind_of([] { launch_empty(133, 32, 200 * 1024, false); }), "");
  EXPECT_EQ(blocks_per_sm(1024, 0), 2);
  EXPECT_EQ(blocks_per_sm(256, 100 * 1024), 2);
  EXPECT_EQ(blocks_per_sm(1, 0), 32);
}

TEST(SharedMemory, PiecesAreGuarded) {
  for (int n : {3, 64, 101}) {
    DeviceArray<float> out{size_t(n)};
    const uint64_t bytes = 2 * uint64_t((n * 4 + 15) / 16 * 16);
    EXPECT_EQ(kind_of([&] { launch_carve(out.data(), n, 0, bytes); }), "");
    const std::vector<float> y = out.values();
    for (int i = 0; i < n; ++i) EXPECT_EQ(y[size_t(i)], float(i + 2 * (n - 1 - i)));
    std::string text;
    const std::string kind = kind_of([&] { launch_carve(out.data(), n, 1, bytes); }, &text);
    EXPECT_TRUE(kind == "out-of-bounds" || kind == "asan") << kind;
    EXPECT_NE(text.find("engine_kernels.cu:"), std::string::npos) << text;
    EXPECT_EQ(kind_of([&] { launch_carve(out.data(), n, 0, bytes - 1); }), "limit");
  }
}

TEST(DeviceMemory, TableOfLiveBuffers) {
  const size_t before = live_device_buffers().size();
  {
    DeviceArray<float> a(10, 1.0f);
    EXPECT_EQ(live_device_buffers().size(), before + 1);
    EXPECT_EQ(find_device_buffer(a.data() + 9).data, reinterpret_cast<char*>(a.data()));
    EXPECT_EQ(find_device_buffer(a.data() + 10).data, nullptr);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.data()) % 256, 0u);
  }
  EXPECT_EQ(live_device_buffers().size(), before);
  float host = 0;
  EXPECT_EQ(kind_of([&] { free_device(&host); }), "free");
}

TEST(DeviceMemory, FreshMemoryIsNotANumber) {
  DeviceArray<float> a(33);
  for (float v : a.values()) EXPECT_TRUE(std::isnan(v));
}

TEST(DeviceMemory, UseAfterFreeIsFound) {
  DeviceArray<float> out(64);
  float* gone = static_cast<float*>(allocate_device(64 * sizeof(float)));
  const std::vector<float> ones(64, 1.0f);
  copy_to_device(gone, ones.data(), 64 * sizeof(float));
  free_device(gone);
  const std::string kind = kind_of([&] { launch_copy(gone, out.data(), 64); });
  if (race_build()) {
    EXPECT_EQ(kind, "out-of-bounds");
  } else if (asan_build()) {
    EXPECT_EQ(kind, "asan");
  } else {
    EXPECT_TRUE(std::isnan(out.values()[0]));
  }
}

TEST(DeviceMemory, HostMemoryInAKernelIsFound) {
  if (!race_build()) GTEST_SKIP() << "only the race build sees every access";
  std::vector<float> host(64, 1.0f);
  DeviceArray<float> out(64);
  EXPECT_EQ(kind_of([&] { launch_copy(host.data(), out.data(), 64); }), "host-memory");
}

TEST(DeviceMemory, UninitialisedIsTrackedByByte) {
  if (!race_build()) GTEST_SKIP() << "only the race build sees every access";
  DeviceArray<float> in(64), out(64);
  EXPECT_EQ(kind_of([&] { launch_copy(in.data(), out.data(), 64); }), "uninitialised");
  // All bits set is a value like any other once it was written.
  const std::vector<float> nans(64, __builtin_bit_cast(float, 0xffffffffu));
  copy_to_device(in.data(), nans.data(), 64 * sizeof(float));
  EXPECT_EQ(kind_of([&] { launch_copy(in.data(), out.data(), 64); }), "");
}

TEST(Mutation, ASiteCanBeTurnedOff) {
  DeviceArray<float> out(64);
  int line = 0;
  const auto right = [&] {
    const std::vector<float> y = out.values();
    for (int i = 0; i < 64; ++i)
      if (y[size_t(i)] != float((i + 1) % 64)) return false;
    return true;
  };
  EXPECT_EQ(kind_of([&] { launch_one_barrier(out.data(), &line); }), "");
  EXPECT_TRUE(right());
  options().mutate = "engine_kernels.cu:" + std::to_string(line);
  const std::string kind = kind_of([&] { launch_one_barrier(out.data(), &line); });
  options().mutate.clear();
  // Lockstep and random orders may hide it from a plain build.
  if (race_build() || options().order == Order::ascend || options().order == Order::descend) {
    EXPECT_TRUE(!kind.empty() || !right());
  }
}

TEST(Launches, AreCounted) {
  const uint64_t before = gpu::launch_count();
  launch_empty(1, 1, 0, false);
  launch_empty(1, 1, 0, false);
  EXPECT_EQ(gpu::launch_count(), before + 2);
}

}  // namespace
}  // namespace unroll::gpu_on_cpu
