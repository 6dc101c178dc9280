// Shape checks and dispatch of sgd.
#include "kernels/update/sgd.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void sgd(const Exec& exec, const Sgd& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.theta.n[0];
  const DType dtype = args.theta.dtype;
  check_shape("sgd", "theta", args.theta, "[n]", {n}, dtype);
  check_shape("sgd", "g", args.g, "[n]", {n}, dtype);
  check_shape("sgd", "norm2", args.norm2, "[1]", {1}, DType::f64);
  check_shape("sgd", "inputs", args.inputs, "[kUpdateInputs]", {kUpdateInputs}, DType::f64);
  dispatch<cpu::sgd, cuda::sgd>(exec, args);
}

}  // namespace unroll
