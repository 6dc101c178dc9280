// Shape checks and dispatch of the activation penalties.
#include "kernels/regularize/activation_penalty.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void activation_penalty_backward(const Exec& exec, const ActivationPenalty& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "activation_penalty_backward";
  const int64_t T = args.y.n[0], B = args.y.n[1], D = args.y.n[2];
  check_shape(op, "y", args.y, "[T,B,D]", {T, B, D}, args.y.dtype);
  check_shape(op, "dy", args.dy, "[T,B,D]", {T, B, D}, args.y.dtype);
  check_shape(op, "weight", args.weight, "[TB]", {T * B}, accumulate_type(args.y.dtype));
  dispatch<cpu::activation_penalty_backward, cuda::activation_penalty_backward>(exec, args);
}

}  // namespace unroll
