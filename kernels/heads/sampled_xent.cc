// Shape checks, dispatch and scratch size of the losses over samples.
#include "kernels/heads/sampled_xent.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void sampled_xent(const Exec& exec, const SampledXent& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "sampled_xent";
  const int64_t N = args.x.n[0], D = args.x.n[1], S = args.ids.n[0], V = args.log_q.n[0];
  const DType act = args.x.dtype, acc = accumulate_type(act);
  UNROLL_CHECK(N >= 1 && S >= 1, "sampled_xent: " + std::to_string(N) + " rows and " +
                                     std::to_string(S) + " samples; both have to be at least 1");
  check_shape(op, "x", args.x, "[N,D]", {N, D}, act);
  check_shape(op, "W_true", args.W_true, "[N,D]", {N, D}, act);
  check_shape(op, "W_sample", args.W_sample, "[S,D]", {S, D}, act);
  check_optional(op, "b", args.b, "[V]", {V}, acc);
  check_shape(op, "log_q", args.log_q, "[V]", {V}, acc);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "ids", args.ids, "[S]", {S}, DType::i32);
  check_shape(op, "dloss", args.dloss, "[N]", {N}, acc);
  check_shape(op, "loss", args.loss, "[N]", {N}, acc);
  check_shape(op, "dx", args.dx, "[N,D]", {N, D}, act);
  check_shape(op, "dW_true", args.dW_true, "[N,D]", {N, D}, acc);
  check_shape(op, "db_true", args.db_true, "[N]", {N}, acc);
  check_shape(op, "dW_sample", args.dW_sample, "[S,D]", {S, D}, acc);
  check_shape(op, "db_sample", args.db_sample, "[S]", {S}, acc);
  const size_t needed = sampled_xent_scratch_bytes(act, 1, int(S));
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "sampled_xent: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, one row of scores needs " + std::to_string(needed));
  dispatch<cpu::sampled_xent, cuda::sampled_xent>(exec, args);
}

size_t sampled_xent_scratch_bytes(DType act, int rows, int S) {
  const size_t stride = (size_t(S) + 7) / 8 * 8;
  // bf16: the scores in f32, and their gradients in bf16 as operands of the products that follow.
  const size_t score = act == DType::bf16 ? sizeof(float) + sizeof(bf16) : size_of(act);
  return stride * size_of(accumulate_type(act)) + size_t(rows) * stride * score;
}

}  // namespace unroll
