// Shape checks and dispatch of the output layer.
#include "kernels/heads/linear_softmax_xent.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"
#include "kernels/heads/xent_plan.h"

namespace unroll {

void linear_softmax_xent(const Exec& exec, const LinearSoftmaxXent& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "linear_softmax_xent";
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
  const DType act = args.x.dtype, acc = accumulate_type(act);
  check_shape(op, "x", args.x, "[N,D]", {N, D}, act);
  check_shape(op, "W", args.W, "[V,D]", {V, D}, act);
  check_optional(op, "b", args.b, "[V]", {V}, acc);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "loss", args.loss, "[N]", {N}, acc);
  if (args.dx) {
    check_shape(op, "dx", args.dx, "[N,D]", {N, D}, act);
    if (args.dW || !logits_gradient(exec, args))
      check_shape(op, "dW", args.dW, "[V,D]", {V, D}, acc);
    UNROLL_CHECK(args.dW || !args.db, "linear_softmax_xent: db is given without dW; give both");
    check_optional(op, "db", args.db, "[V]", {V}, acc);
    check_shape(op, "dloss", args.dloss, "[N]", {N}, acc);
    check_optional(op, "shift", args.shift, "[N]", {N}, acc);
  } else if (N > 0) {
    UNROLL_CHECK(
        !args.dW && !args.db,
        "linear_softmax_xent: dW or db is given without dx; give all of them to train, none "
        "to evaluate");
  }
  const XentOptions& o = args.options;
  UNROLL_CHECK(o.label_smoothing >= 0 && o.label_smoothing < 1 && o.z_loss >= 0 && o.soft_cap >= 0,
               "linear_softmax_xent: label_smoothing is " + std::to_string(o.label_smoothing) +
                   ", z_loss " + std::to_string(o.z_loss) + ", soft_cap " +
                   std::to_string(o.soft_cap) +
                   "; expected label_smoothing from 0 to below 1, the others 0 or more");
  UNROLL_CHECK(!args.shift || (o.label_smoothing == 0 && o.z_loss == 0 && o.soft_cap == 0),
               "linear_softmax_xent: shift is given together with options; give one of them");
  const size_t needed = plan_xent(exec, act, N, D, V, bool(args.dx), args.scratch.bytes).bytes;
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "linear_softmax_xent: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, the least it can do with is " + std::to_string(needed) +
                   "; ask linear_softmax_xent_scratch_bytes");
  dispatch<cpu::linear_softmax_xent, cuda::linear_softmax_xent>(exec, args);
}

View2 logits_gradient(const Exec& exec, const LinearSoftmaxXent& args) {
  // A measuring Exec stands for the device whose BLAS handle it holds.
  const bool cuda = exec.kind == DeviceKind::cuda || exec.blas != nullptr;
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
  if (!cuda || !args.dx || N == 0) return {};
  const XentPlan plan = plan_xent(exec, args.x.dtype, N, D, V, true, args.scratch.bytes);
  if (!plan.keep || plan.rows < N) return {};
  View2 dz = view_of(args.scratch.data, args.x.dtype, N, V);
  dz.ld = xent_stride(V);
  return dz;
}

void linear_log_softmax(const Exec& exec, const LinearLogSoftmax& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "linear_log_softmax";
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
  const DType act = args.x.dtype, acc = accumulate_type(act);
  check_shape(op, "x", args.x, "[N,D]", {N, D}, act);
  check_shape(op, "W", args.W, "[V,D]", {V, D}, act);
  check_optional(op, "b", args.b, "[V]", {V}, acc);
  check_shape(op, "log_p", args.log_p, "[N,V]", {N, V}, acc);
  UNROLL_CHECK(args.soft_cap >= 0, "linear_log_softmax: soft_cap is " +
                                       std::to_string(args.soft_cap) + ", expected 0 or more");
  dispatch<cpu::linear_log_softmax, cuda::linear_log_softmax>(exec, args);
}

}  // namespace unroll
