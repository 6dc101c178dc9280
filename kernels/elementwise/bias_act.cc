// Shape checks and dispatch of bias_act and column_sum.
#include "kernels/elementwise/bias_act.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void bias_act_forward(const Exec& exec, const BiasAct& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.x.n[0], D = args.x.n[1];
  const DType act = args.x.dtype;
  check_shape("bias_act_forward", "x", args.x, "[N,D]", {N, D}, act);
  check_shape("bias_act_forward", "y", args.y, "[N,D]", {N, D}, act);
  check_optional("bias_act_forward", "b", args.b, "[D]", {D}, accumulate_type(act));
  dispatch<cpu::bias_act_forward, cuda::bias_act_forward>(exec, args);
}

void bias_act_backward(const Exec& exec, const BiasActBackward& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.dy.n[0], D = args.dy.n[1];
  const DType act = args.dy.dtype;
  check_shape("bias_act_backward", "dy", args.dy, "[N,D]", {N, D}, act);
  check_shape("bias_act_backward", "dx", args.dx, "[N,D]", {N, D}, act);
  if (args.act != Activation::none)
    check_shape("bias_act_backward", "y", args.y, "[N,D]", {N, D}, act);
  dispatch<cpu::bias_act_backward, cuda::bias_act_backward>(exec, args);
}

void column_sum(const Exec& exec, const ColumnSum& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.x.n[0], D = args.x.n[1];
  check_shape("column_sum", "x", args.x, "[N,D]", {N, D}, args.x.dtype);
  check_shape("column_sum", "sum", args.sum, "[D]", {D}, accumulate_type(args.x.dtype));
  dispatch<cpu::column_sum, cuda::column_sum>(exec, args);
}

}  // namespace unroll
