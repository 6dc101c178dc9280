// The tests of whole models and host layers on a GPU: what they ask of the simulated runtime, for
// the real one.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/runtime/runtime.h"
#include "tests/harness/devices.h"

namespace unroll::gpu_on_cpu {

// A device has its own order of queued work, and its kernels are built in one way.
void set_queue_seed(uint64_t) {}
bool race_build() { return false; }
bool asan_build() { return false; }

}  // namespace unroll::gpu_on_cpu

namespace unroll::test {
namespace {

class NeedsGpu : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo&) override {
    skip_without_device({DeviceKind::cuda, DType::f32});
  }
};

[[maybe_unused]] const bool prepared = [] {
  unsetenv("UNROLL_PERSISTENT_TIMEOUT");  // nothing is captured where it is set
  testing::UnitTest::GetInstance()->listeners().Append(new NeedsGpu);
  return true;
}();

}  // namespace
}  // namespace unroll::test
