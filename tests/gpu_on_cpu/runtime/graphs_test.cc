// Capture and replay in the stand-in runtime.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "host/device/graph.h"
#include "tests/gpu_on_cpu/runtime/arrays.h"

namespace unroll::test {
namespace {

using gpu_on_cpu::enqueue;

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
TEST(Graphs, ReplayUsesArgumentsAsCaptured) {
  EXPECT_EQ(wrong_seeds([] { return steps(true); }), 0);
  EXPECT_EQ(wrong_seeds([] { return steps(false); }), kSeeds);
}

TEST(Graphs, CaptureRunsNothingAndReplayRunsEverything) {
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
TEST(Graphs, CaptureKeepsTheDependenciesOfAFork) {
  const auto program = [](bool fork_waits) {
    Arrays a;
    forked(a, fork_waits, true).launch(a.stream);
    return a.y_is(2);
  };
  EXPECT_EQ(wrong_seeds([&] { return program(true); }), 0);
  EXPECT_GT(wrong_seeds([&] { return program(false); }), kSeeds / 4);
}

TEST(Graphs, IllegalCallsDuringCaptureAreErrors) {
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

TEST(Graphs, EventRecordedInACaptureIsOfNoUseOutside) {
  Arrays a;
  Event event(a.device);
  Graph::capture(a.stream, [&] {
    add_kernel(a.stream, a.y.as<float>(), a.x.as<float>(), 1);
    event.record(a.stream);
  });
  EXPECT_TRUE(says(error_of([&] { event.synchronize(); }), "last recorded in a capturing stream"));
  EXPECT_TRUE(says(error_of([&] { a.other.wait(event); }), "last recorded in a capturing stream"));
}

}  // namespace
}  // namespace unroll::test
