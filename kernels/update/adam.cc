// Shape checks and dispatch of adam.
#include "kernels/update/adam.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void adam(const Exec& exec, const Adam& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.theta.n[0];
  const DType dtype = args.theta.dtype;
  check_shape("adam", "theta", args.theta, "[n]", {n}, dtype);
  check_shape("adam", "m", args.m, "[n]", {n}, dtype);
  check_shape("adam", "v", args.v, "[n]", {n}, dtype);
  check_shape("adam", "g", args.g, "[n]", {n}, dtype);
  check_shape("adam", "norm2", args.norm2, "[1]", {1}, DType::f64);
  check_shape("adam", "inputs", args.inputs, "[kUpdateInputs]", {kUpdateInputs}, DType::f64);
  dispatch<cpu::adam, cuda::adam>(exec, args);
}

}  // namespace unroll
