// Shape checks and dispatch of step_metrics.
#include "kernels/update/step_metrics.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void step_metrics(const Exec& exec, const StepMetrics& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t R = args.ring.n[0], N = args.loss.n[0];
  UNROLL_CHECK(R > 0, "step_metrics: the ring has no rows");
  check_shape("step_metrics", "ring", args.ring, "[R,kStepMetrics]", {R, kStepMetrics}, DType::f64);
  check_shape("step_metrics", "slot", args.slot, "[1]", {1}, DType::u64);
  check_shape("step_metrics", "loss", args.loss, "[N]", {N}, args.loss.dtype);
  check_shape("step_metrics", "target", args.target, "[N]", {N}, DType::i32);
  check_optional("step_metrics", "norm2", args.norm2, "[1]", {1}, DType::f64);
  dispatch<cpu::step_metrics, cuda::step_metrics>(exec, args);
}

}  // namespace unroll
