// CPU body of step_metrics.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/step_metrics.h"

namespace unroll::cpu {

void step_metrics(const Exec&, const StepMetrics& args) {
  const auto target = args.target.as<int32_t>();
  double sum = 0;
  int64_t tokens = 0;
  with_real("step_metrics", args.loss.dtype, [&](auto zero) {
    const auto loss = args.loss.as<decltype(zero)>();
    for (int64_t n = 0; n < loss.n[0]; ++n) {
      if (target(n) < 0) continue;
      sum += loss(n);
      ++tokens;
    }
  });
  uint64_t& slot = args.slot.as<uint64_t>()(0);
  double* record = args.ring.as<double>().row(int64_t(slot % uint64_t(args.ring.n[0])));
  record[0] = double(slot);
  record[1] = sum;
  record[2] = double(tokens);
  record[3] = args.norm2 ? args.norm2.as<double>()(0) : 0.0;
  ++slot;
}

}  // namespace unroll::cpu
