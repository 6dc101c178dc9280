// Shape checks, dispatch and scratch size of the softmax over classes.
#include "kernels/heads/class_xent.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void class_xent(const Exec& exec, const ClassXent& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "class_xent";
  const int64_t N = args.x.n[0], D = args.x.n[1], V = args.W.n[0], C = args.bounds.n[0] - 1;
  const DType act = args.x.dtype, acc = accumulate_type(act);
  check_shape(op, "x", args.x, "[N,D]", {N, D}, act);
  check_shape(op, "W", args.W, "[V,D]", {V, D}, act);
  check_optional(op, "b", args.b, "[V]", {V}, acc);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "order", args.order, "[N]", {N}, DType::i32);
  check_shape(op, "group", args.group, "[N]", {N}, DType::i32);
  check_shape(op, "bounds", args.bounds, "[C+1]", {C + 1}, DType::i32);
  check_shape(op, "start", args.start, "[C+1]", {C + 1}, DType::i32);
  check_shape(op, "loss", args.loss, "[N]", {N}, acc);
  UNROLL_CHECK(args.largest >= 1 && args.largest <= V,
               "class_xent: the largest class is said to have " + std::to_string(args.largest) +
                   " of " + std::to_string(V) + " words");
  if (args.dx) {
    check_shape(op, "dx", args.dx, "[N,D]", {N, D}, act);
    check_shape(op, "dW", args.dW, "[V,D]", {V, D}, acc);
    check_optional(op, "db", args.db, "[V]", {V}, acc);
    check_shape(op, "dloss", args.dloss, "[N]", {N}, acc);
  } else {
    UNROLL_CHECK(!args.dW && !args.db,
                 "class_xent: dW or db is given without dx; give all of them to train, none to "
                 "evaluate");
  }
  const size_t needed = class_xent_scratch_bytes(exec, act, N, D, args.largest, bool(args.dx), 0);
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "class_xent: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, the least it can do with is " + std::to_string(needed) +
                   "; ask class_xent_scratch_bytes");
  if (N > 0 || args.dx) dispatch<cpu::class_xent, cuda::class_xent>(exec, args);
}

size_t class_xent_scratch_bytes(const Exec& exec, DType act, int64_t N, int64_t D, int64_t largest,
                                bool gradients, size_t budget) {
  // A measuring run on behalf of CUDA carries its BLAS handle.
  if constexpr (kBuiltWithCuda) {
    if (exec.kind == DeviceKind::cuda || exec.blas)
      return cuda::class_xent_scratch_bytes(N, largest, budget);
  }
  return cpu::class_xent_scratch_bytes(exec, act, N, D, largest, gradients, budget);
}

void class_log_softmax(const Exec& exec, const ClassLogSoftmax& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "class_log_softmax";
  const int64_t N = args.log_p.n[0], V = args.log_p.n[1], C = args.bounds.n[0] - 1;
  const DType acc = args.log_p.dtype;
  check_shape(op, "log_p", args.log_p, "[N,V]", {N, V}, acc);
  check_shape(op, "log_class", args.log_class, "[N,C]", {N, C}, acc);
  check_shape(op, "bounds", args.bounds, "[C+1]", {C + 1}, DType::i32);
  if (N > 0 && V > 0) dispatch<cpu::class_log_softmax, cuda::class_log_softmax>(exec, args);
}

}  // namespace unroll
