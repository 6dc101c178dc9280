// The stand-in CUDA runtime, through the classes of host/device: right programs give the right
// numbers for every seed; programs with a planted mistake do not.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#include "tests/gpu_on_cpu/runtime/arrays.h"

namespace unroll::test {
namespace {

using gpu_on_cpu::enqueue;
using gpu_on_cpu::set_queue_seed;

// What a user reads whose GPU or driver this build cannot use.
TEST(Runtime, AMachineThatCannotRunUnrollIsToldWhy) {
  struct Case {
    gpu_on_cpu::Machine machine;
    const char* why;
  };
  const Case cases[] = {
      {{.major = 7, .minor = 5}, "has compute capability 7.5; unroll needs 8.0 or higher"},
      {{.driver = 12080},
       "the NVIDIA driver supports CUDA 12.8, this build needs 13.0 or newer; "
       "update the driver (CUDA 13: 580 or later)"},
      {{.driver = 0}, "no NVIDIA driver is installed"},
      {{.devices = 0}, "CUDA says: no CUDA-capable device is detected"},
  };
  for (const Case& c : cases) {
    gpu_on_cpu::set_machine(c.machine);
    const Device device = Device::parse("auto", 1);
    EXPECT_EQ(device.kind(), DeviceKind::cpu);
    EXPECT_NE(device.why_cpu().find(c.why), std::string::npos) << device.why_cpu();
    try {
      Device::cuda();
      ADD_FAILURE() << "accepted: " << c.why;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::resource);
      EXPECT_NE(std::string(e.what()).find(c.why), std::string::npos) << e.what();
      EXPECT_NE(std::string(e.what()).find("use --device cpu"), std::string::npos) << e.what();
    }
  }
  gpu_on_cpu::set_machine({});
  cudaGetLastError();
}

TEST(Runtime, DeviceIsAnH200WithAnotherName) {
  const Device device = Device::cuda();
  EXPECT_EQ(device.name(), "GPU on CPU");
  EXPECT_EQ(device.sm_count(), 132);
  EXPECT_TRUE(Device::cuda_available());
  EXPECT_THROW(Device::cuda(1), Error);
}

TEST(Runtime, WorkOfOneStreamIsInOrder) {
  EXPECT_EQ(wrong_seeds([] {
              Arrays a;
              for (int i = 0; i < 20; ++i)
                add_kernel(a.stream, a.y.as<float>(), a.y.as<float>(), 1);
              for (int i = 0; i < 3; ++i) a.stream.copy(a.x.data(), a.y.data(), kBytes);
              add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 0.5f);
              return a.y_is(20.5f);
            }),
            0);
}

// A producer on one stream, its consumer on another.
bool two_streams(bool wait) {
  Arrays a;
  Event ready(a.device);
  add_kernel(a.stream, a.x.as<float>(), a.x.as<float>(), 6);
  ready.record(a.stream);
  if (wait) a.other.wait(ready);
  add_kernel(a.other, a.y.as<float>(), a.x.as<float>(), 0);
  return a.y_is(7);
}
TEST(Runtime, MissingEventWaitIsSeen) {
  EXPECT_EQ(wrong_seeds([] { return two_streams(true); }), 0);
  EXPECT_GT(wrong_seeds([] { return two_streams(false); }), kSeeds / 4);
}

// The other direction: one stream overwrites what another still has to read.
bool reuse(bool wait) {
  Arrays a;
  Event read(a.device);
  add_kernel(a.other, a.y.as<float>(), a.x.as<float>(), 0);
  read.record(a.other);
  if (wait) a.stream.wait(read);
  a.stream.fill_zero(a.x.data(), kBytes);
  return a.y_is(1);
}
TEST(Runtime, OverwritingBeforeTheReaderIsSeen) {
  EXPECT_EQ(wrong_seeds([] { return reuse(true); }), 0);
  EXPECT_GT(wrong_seeds([] { return reuse(false); }), kSeeds / 4);
}

bool read_back(bool synchronise) {
  Arrays a;
  add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 2);
  a.stream.copy(a.result.data(), a.y.data(), kBytes);
  if (synchronise) a.stream.synchronize();
  return all_are(a.result.as<float>(), 3);
}
TEST(Runtime, HostReadBeforeSynchroniseIsSeen) {
  EXPECT_EQ(wrong_seeds([] { return read_back(true); }), 0);
  EXPECT_GT(wrong_seeds([] { return read_back(false); }), kSeeds / 2);
}

// Even where the right numbers were there before: the second read-back of the same values.
TEST(Runtime, HostReadOfAnEarlierResultIsSeen) {
  const auto program = [](bool synchronise) {
    Arrays a;
    a.stream.copy(a.result.data(), a.x.data(), kBytes);
    a.stream.synchronize();
    a.stream.copy(a.result.data(), a.x.data(), kBytes);
    if (synchronise) a.stream.synchronize();
    return all_are(a.result.as<float>(), 1);
  };
  EXPECT_EQ(wrong_seeds([&] { return program(true); }), 0);
  EXPECT_GT(wrong_seeds([&] { return program(false); }), kSeeds / 2);
}

// Two chunks through one pinned buffer.
bool refill(bool wait) {
  Arrays a;
  Event copied(a.device);
  a.fill(10);
  a.stream.copy(a.x.data(), a.pinned.data(), kBytes);
  copied.record(a.stream);
  add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 0);
  if (wait) copied.synchronize();
  a.fill(20);
  return a.y_is(10);
}
TEST(Runtime, OverwritingAPinnedBufferBeforeItsCopyIsSeen) {
  EXPECT_EQ(wrong_seeds([] { return refill(true); }), 0);
  EXPECT_GT(wrong_seeds([] { return refill(false); }), kSeeds / 2);
}

TEST(Runtime, PollingAnEventComesToAnEnd) {
  EXPECT_EQ(wrong_seeds([] {
              Arrays a;
              Event done(a.device);
              add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 2);
              a.stream.copy(a.result.data(), a.y.data(), kBytes);
              done.record(a.stream);
              while (!done.done()) {
              }
              return all_are(a.result.as<float>(), 3);
            }),
            0);
}

TEST(Runtime, PageableCopiesAreStaged) {
  EXPECT_EQ(wrong_seeds([] {
              Arrays a;
              std::vector<float> host(kCount, 4), back(kCount, 0);
              a.stream.copy(a.x.data(), host.data(), kBytes);
              std::fill(host.begin(), host.end(), 9.0f);
              add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 1);
              a.stream.copy(back.data(), a.y.data(), kBytes);
              return all_are(back.data(), 5);
            }),
            0);
}

// --- errors --------------------------------------------------------------------------------------

TEST(Runtime, FailureOfQueuedWorkIsReportedByTheNextSynchronise) {
  wrong_seeds([] {
    Arrays a;
    enqueue(a.stream.handle(), [] { throw std::runtime_error("planted fault"); });
    add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 1);
    EXPECT_TRUE(says(error_of([&] { a.stream.synchronize(); }), "planted fault"));
    EXPECT_EQ(error_of([&] { a.stream.synchronize(); }), "no error");
    EXPECT_TRUE(a.y_is(0));  // what was queued behind it was dropped
    return true;
  });
}

TEST(Runtime, CopyBeyondABufferIsAnError) {
  Arrays a;
  EXPECT_TRUE(says(error_of([&] { a.stream.copy(a.x.data(), a.pinned.data(), kBytes + 4); }),
                   "invalid argument"));
  EXPECT_TRUE(
      says(error_of([&] { a.stream.fill_zero(a.x.as<float>() + 1, kBytes); }), "invalid argument"));
  EXPECT_TRUE(
      says(error_of([&] { a.stream.fill_zero(a.pinned.data(), kBytes); }), "invalid argument"));
}

TEST(Runtime, MemoryIsCountedAndRunsOut) {
  const Device device = Device::cuda();
  const size_t before = device.free_memory_bytes();
  {
    Buffer b(device, MemoryKind::device, 1000);
    EXPECT_EQ(device.free_memory_bytes(), before - 1000);
  }
  EXPECT_EQ(device.free_memory_bytes(), before);
  EXPECT_TRUE(says(error_of([&] { Buffer(device, MemoryKind::device, before + 1); }),
                   "out of memory on GPU on CPU"));
}

TEST(Runtime, SameSeedSameOrder) {
  const auto order = [](uint64_t seed) {
    const Device device = Device::cuda();
    std::vector<Stream> streams;
    for (int i = 0; i < 6; ++i) streams.emplace_back(device);
    set_queue_seed(seed);
    std::vector<int> ran;
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 6; ++i)
        enqueue(streams[size_t(i)].handle(), [&, i] { ran.push_back(i); });
      streams[3].synchronize();
    }
    device.synchronize();
    EXPECT_EQ(ran.size(), 24u);
    return ran;
  };
  EXPECT_EQ(order(5), order(5));
  EXPECT_NE(order(5), order(6));
}

}  // namespace
}  // namespace unroll::test
