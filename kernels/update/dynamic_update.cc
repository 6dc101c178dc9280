// Shape checks and dispatch of dynamic_update and accumulate_squares.
#include "kernels/update/dynamic_update.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void accumulate_squares(const Exec& exec, const AccumulateSquares& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.sum.n[0];
  const DType dtype = args.sum.dtype;
  check_shape("accumulate_squares", "sum", args.sum, "[n]", {n}, dtype);
  check_shape("accumulate_squares", "g", args.g, "[n]", {n}, dtype);
  dispatch<cpu::accumulate_squares, cuda::accumulate_squares>(exec, args);
}

void dynamic_update(const Exec& exec, const DynamicUpdate& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.theta.n[0];
  const DType dtype = args.theta.dtype;
  check_shape("dynamic_update", "theta", args.theta, "[n]", {n}, dtype);
  check_shape("dynamic_update", "theta_0", args.theta_0, "[n]", {n}, dtype);
  check_shape("dynamic_update", "g", args.g, "[n]", {n}, dtype);
  check_shape("dynamic_update", "rms", args.rms, "[n]", {n}, dtype);
  UNROLL_CHECK(args.eps > 0,
               "dynamic_update: eps is " + std::to_string(args.eps) + ", has to be above 0");
  dispatch<cpu::dynamic_update, cuda::dynamic_update>(exec, args);
}

}  // namespace unroll
