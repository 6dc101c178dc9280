// Shape checks and dispatch of the adversarial softmax.
#include "kernels/heads/adversarial_target.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void adversarial_shift(const Exec& exec, const AdversarialShift& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "adversarial_shift";
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0];
  const DType act = args.x.dtype;
  check_shape(op, "x", args.x, "[N,D]", {N, D}, act);
  check_shape(op, "W", args.W, "[V,D]", {V, D}, act);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "shift", args.shift, "[N]", {N}, accumulate_type(act));
  UNROLL_CHECK(args.eps >= 0,
               "adversarial_shift: eps is " + std::to_string(args.eps) + ", expected 0 or more");
  dispatch<cpu::adversarial_shift, cuda::adversarial_shift>(exec, args);
}

void adversarial_loss(const Exec& exec, const AdversarialLoss& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "adversarial_loss";
  const int64_t N = args.nll.n[0];
  const DType acc = args.nll.dtype;
  check_shape(op, "nll", args.nll, "[N]", {N}, acc);
  check_shape(op, "shift", args.shift, "[N]", {N}, acc);
  check_shape(op, "loss", args.loss, "[N]", {N}, acc);
  dispatch<cpu::adversarial_loss, cuda::adversarial_loss>(exec, args);
}

void adversarial_dx(const Exec& exec, const AdversarialDx& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "adversarial_dx";
  const int64_t N = args.x.n[0], D = args.x.n[1];
  const DType act = args.x.dtype, acc = accumulate_type(act);
  check_shape(op, "x", args.x, "[N,D]", {N, D}, act);
  check_shape(op, "dx", args.dx, "[N,D]", {N, D}, act);
  check_shape(op, "nll", args.nll, "[N]", {N}, acc);
  check_shape(op, "shift", args.shift, "[N]", {N}, acc);
  check_shape(op, "dloss", args.dloss, "[N]", {N}, acc);
  dispatch<cpu::adversarial_dx, cuda::adversarial_dx>(exec, args);
}

}  // namespace unroll
