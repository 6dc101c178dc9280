// Appends one step's figures to a ring on the device, which the host reads steps later.
//
//   ring[slot % R] = {slot, sum of loss where target >= 0, number of such tokens, norm2}
//   slot          <- slot + 1
//
// The sum is taken in f64 in a fixed order. `slot` counts on the device, so a replay needs no
// argument.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

constexpr int kStepMetrics = 4;

struct StepMetrics {
  View2 ring;     // [R,kStepMetrics]  f64; out
  View1 slot;     // [1]  u64; in and out
  View1 loss;     // [N]  acc, nats
  View1 target;   // [N]  i32
  View1 norm2{};  // [1]  f64; left out: recorded as 0
};
void step_metrics(const Exec& exec, const StepMetrics& args);

namespace cpu {
void step_metrics(const Exec& exec, const StepMetrics& args);
}
namespace cuda {
void step_metrics(const Exec& exec, const StepMetrics& args);
}

}  // namespace unroll
