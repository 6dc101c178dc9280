// host/train/memory_estimate.h: what a refusal says, and the default of the logits' budget.
#include "host/train/memory_estimate.h"

#include <gtest/gtest.h>

#include "kernels/base/error.h"
#include "tests/host/core/tiny_lm.h"

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

// What the estimate calls logits is what the model's own output layer asks for.
TEST(MemoryEstimate, LogitsAreThoseOfTheOutputLayer) {
  constexpr int T = 8, B = 4, V = 2000, S = 10;
  RnnLm::Config config;
  config.V = V;
  config.E = config.H = 4;
  const auto logits = [&] {
    TinyLm lm(config, T, B, {}, DType::f64, Device::cpu(1), false, size_t(64) << 20);
    const Scheduler::Needs needs = lm.scheduler->measure(true, T, B, false, lm.state);
    EXPECT_GT(needs.bytes, needs.logits);
    return needs.logits;
  };
  constexpr size_t kColumn = size_t(T) * B * sizeof(double);
  const size_t full = logits();
  EXPECT_GE(full, kColumn * V);
  EXPECT_LT(full, kColumn * V * 3 / 2);
  config.output.kind = OutputLayer::Kind::sampled;
  config.output.samples = S;
  config.output.q = log_uniform(V);
  const size_t sampled = logits();
  EXPECT_GE(sampled, kColumn * S);
  EXPECT_LT(sampled, kColumn * S * 3);
}

TEST(LogitsBudget, IsTheSettingOrByTheDevice) {
  EXPECT_EQ(logits_budget(12345, Device::cpu(1)), 12345u);
  EXPECT_EQ(logits_budget(0, Device::cpu(1)), size_t(256) << 20);
}

}  // namespace
}  // namespace unroll::test
