// host/train/memory_estimate.h: what a refusal says, and the default of the logits' budget.
#include "host/train/memory_estimate.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"

namespace unroll::test {
namespace {

std::string refusal(const MemoryEstimate& estimate) {
  try {
    require_memory(Backend(Device::cpu(1)), estimate);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    return error.what();
  }
  return "";
}

TEST(MemoryEstimate, RefusalNamesThePartsAndTheThreeFlagsThatHelpMost) {
  constexpr size_t kTooMuch = size_t(1) << 50, kMega = size_t(1) << 20;
  MemoryEstimate e;
  e.weights = 3 * kMega;
  e.optimizer = 2 * kMega;
  e.activations = 3 * kTooMuch;
  e.logits = 2 * kTooMuch;
  const std::string logits = refusal(e);
  for (const char* part : {"activations ", "logits ", "weights 3.00 MiB", "optimiser 2.00 MiB",
                           "lower --logits-memory, --batch or --bptt"})
    EXPECT_NE(logits.find(part), std::string::npos) << part << " in: " << logits;
  e.logits = kMega;
  EXPECT_NE(refusal(e).find("lower --batch, --bptt or --hidden"), std::string::npos) << refusal(e);
  e.activations = 2 * kMega;
  EXPECT_EQ(refusal(e), "");
}

TEST(LogitsBudget, IsTheSettingOrByTheDevice) {
  EXPECT_EQ(logits_budget(12345, Device::cpu(1)), 12345u);
  EXPECT_EQ(logits_budget(0, Device::cpu(1)), size_t(256) << 20);
}

}  // namespace
}  // namespace unroll::test
