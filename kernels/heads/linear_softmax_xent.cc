// Shape checks, dispatch and scratch size of the output layer.
#include "kernels/heads/linear_softmax_xent.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

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
    check_shape(op, "dW", args.dW, "[V,D]", {V, D}, acc);
    check_optional(op, "db", args.db, "[V]", {V}, acc);
    check_shape(op, "dloss", args.dloss, "[N]", {N}, acc);
  } else if (N > 0) {
    UNROLL_CHECK(
        !args.dW && !args.db,
        "linear_softmax_xent: dW or db is given without dx; give all of them to train, none "
        "to evaluate");
  }
  const size_t needed = linear_softmax_xent_scratch_bytes(exec, act, 1, int(D), int(V));
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "linear_softmax_xent: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, one row of logits needs " + std::to_string(needed));
  dispatch<cpu::linear_softmax_xent, cuda::linear_softmax_xent>(exec, args);
}

size_t linear_softmax_xent_scratch_bytes(const Exec&, DType act, int rows, int, int V) {
  const size_t stride = (size_t(V) + 7) / 8 * 8;
  // bf16: the logits in f32, and their gradients in bf16 as operands of the products that follow.
  const size_t logit_bytes = act == DType::bf16 ? sizeof(float) + sizeof(bf16) : size_of(act);
  return size_t(rows) * stride * logit_bytes;
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
  dispatch<cpu::linear_log_softmax, cuda::linear_log_softmax>(exec, args);
}

}  // namespace unroll
