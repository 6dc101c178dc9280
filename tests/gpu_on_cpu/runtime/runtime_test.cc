// The stand-in CUDA runtime, through the classes of host/device: right programs give the right
// numbers for every seed; programs with a planted mistake do not.
#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#include "host/device/backend.h"
#include "host/device/graph.h"
#include "kernels/base/error.h"
#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"

namespace unroll {
namespace {

using gpu_on_cpu::enqueue;
using gpu_on_cpu::set_queue_seed;

constexpr int kSeeds = 60;
constexpr size_t kCount = 8;
constexpr size_t kBytes = kCount * sizeof(float);

// A program that says whether its numbers were right; the number of seeds for which they were not.
int wrong_seeds(const std::function<bool()>& program) {
  int wrong = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    set_queue_seed(uint64_t(seed));
    wrong += !program();
    Device::cuda().synchronize();
  }
  return wrong;
}

bool all_are(const float* p, float value) {
  return std::all_of(p, p + kCount, [&](float x) { return x == value; });
}

// y = x + value, as a kernel: its arguments are copied when it is issued.
void add_kernel(const Stream& stream, float* y, const float* x, float value) {
  enqueue(stream.handle(), [=] {
    for (size_t i = 0; i < kCount; ++i) y[i] = x[i] + value;
  });
}

struct Arrays {
  Device device = Device::cuda();
  Stream stream{device}, other{device};
  Buffer x{device, MemoryKind::device, kBytes}, y{device, MemoryKind::device, kBytes};
  Buffer pinned{device, MemoryKind::pinned, kBytes}, result{device, MemoryKind::pinned, kBytes};
  Arrays() {
    fill(1);
    stream.copy(x.data(), pinned.data(), kBytes);
    stream.fill_zero(y.data(), kBytes);
    stream.synchronize();
    std::fill_n(result.as<float>(), kCount, -5.0f);
  }
  void fill(float v) { std::fill_n(pinned.as<float>(), kCount, v); }
  // Waits for both streams and reads y.
  bool y_is(float value) {
    stream.synchronize();
    other.synchronize();
    stream.copy(result.data(), y.data(), kBytes);
    stream.synchronize();
    return all_are(result.as<float>(), value);
  }
};

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

// --- graphs --------------------------------------------------------------------------------------

// Three steps with a rate that changes per step; by value it keeps what it was at capture.
bool steps(bool rate_on_device) {
  Arrays a;
  float rate = 1;
  Graph graph = Graph::capture(a.stream, [&] {
    if (rate_on_device)
      enqueue(a.stream.handle(), [y = a.y.as<float>(), rate = a.x.as<float>()] {
        for (size_t i = 0; i < kCount; ++i) y[i] += rate[i];
      });
    else
      add_kernel(a.stream, a.y.as<float>(), a.y.as<float>(), rate);
  });
  for (int step = 1; step <= 3; ++step) {
    rate = float(step);
    a.fill(rate);
    a.stream.copy(a.x.data(), a.pinned.data(), kBytes);
    graph.launch(a.stream);
    a.stream.synchronize();
  }
  return a.y_is(6);
}
TEST(Runtime, ReplayUsesArgumentsAsCaptured) {
  EXPECT_EQ(wrong_seeds([] { return steps(true); }), 0);
  EXPECT_EQ(wrong_seeds([] { return steps(false); }), kSeeds);
}

TEST(Runtime, CaptureRunsNothingAndReplayRunsEverything) {
  Arrays a;
  Graph graph = Graph::capture(a.stream, [&] {
    a.stream.copy(a.x.data(), a.pinned.data(), kBytes);
    add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 1);
    a.stream.fill_zero(a.x.data(), kBytes);
  });
  EXPECT_EQ(graph.nodes(), 3u);
  EXPECT_TRUE(a.y_is(0));
  for (float v : {3.0f, 8.0f}) {
    a.fill(v);
    graph.launch(a.stream);
    EXPECT_TRUE(a.y_is(v + 1));
  }
}

// A fork to another stream inside a capture, and its join.
Graph forked(Arrays& a, bool fork_waits, bool join) {
  Event fork(a.device), done(a.device);
  return Graph::capture(a.stream, [&] {
    if (!fork_waits) fork.record(a.stream);
    add_kernel(a.stream, a.x.as<float>(), a.x.as<float>(), 1);
    if (fork_waits) fork.record(a.stream);
    a.other.wait(fork);
    add_kernel(a.other, a.y.as<float>(), a.x.as<float>(), 0);
    done.record(a.other);
    if (join) a.stream.wait(done);
  });
}
TEST(Runtime, CaptureKeepsTheDependenciesOfAFork) {
  const auto program = [](bool fork_waits) {
    Arrays a;
    forked(a, fork_waits, true).launch(a.stream);
    return a.y_is(2);
  };
  EXPECT_EQ(wrong_seeds([&] { return program(true); }), 0);
  EXPECT_GT(wrong_seeds([&] { return program(false); }), kSeeds / 4);
}

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
testing::AssertionResult says(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "\"" << text << "\" does not say \"" << part << "\"";
}

TEST(Runtime, IllegalCallsDuringCaptureAreErrors) {
  Arrays a;
  Event outside(a.device);
  outside.record(a.other);
  std::vector<float> pageable(kCount);
  const std::function<void()> illegal[] = {
      [&] { a.stream.synchronize(); },
      [&] { a.device.synchronize(); },
      [&] { Buffer(a.device, MemoryKind::device, 16); },
      [&] { Buffer(a.device, MemoryKind::pinned, 16); },
      [&] { a.stream.copy(a.x.data(), pageable.data(), kBytes); },
      [&] { a.stream.copy(pageable.data(), a.x.data(), kBytes); },
  };
  for (const auto& call : illegal)
    EXPECT_TRUE(
        says(error_of([&] { Graph::capture(a.stream, call); }), "not permitted when stream"));
  EXPECT_TRUE(says(error_of([&] { Graph::capture(a.stream, [&] { a.stream.wait(outside); }); }),
                   "uncaptured work in another stream"));
  EXPECT_TRUE(says(error_of([&] { forked(a, true, false); }), "unjoined"));
  // An error that is swallowed spoils the capture all the same.
  EXPECT_TRUE(says(error_of([&] {
                     Graph::capture(a.stream, [&] { error_of([&] { a.stream.synchronize(); }); });
                   }),
                   "previous error during capture"));
  // Afterwards the stream works as before.
  add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 1);
  EXPECT_TRUE(a.y_is(2));
}

TEST(Runtime, EventRecordedInACaptureIsOfNoUseOutside) {
  Arrays a;
  Event event(a.device);
  Graph::capture(a.stream, [&] {
    add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 1);
    event.record(a.stream);
  });
  EXPECT_TRUE(says(error_of([&] { event.synchronize(); }), "last recorded in a capturing stream"));
  EXPECT_TRUE(says(error_of([&] { a.other.wait(event); }), "last recorded in a capturing stream"));
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
}  // namespace unroll
