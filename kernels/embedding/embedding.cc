// Shape checks and dispatch of the embedding ops.
#include "kernels/embedding/embedding.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"
#include "kernels/embedding/sorted_terms.h"

namespace unroll {
namespace {

void check_scratch(const char* op, const Exec& exec, const View2& dy, const Scratch& scratch) {
  const size_t needed = embedding_scratch_bytes(exec, dy.dtype, int(dy.n[0]), dy.n[1]);
  UNROLL_CHECK(scratch.bytes >= needed,
               std::string(op) + ": scratch holds " + std::to_string(scratch.bytes) +
                   " bytes, embedding_scratch_bytes asks for " + std::to_string(needed));
}

void check_ids(const char* op, const View1& ids, const View1& more_ids) {
  check_shape(op, "ids", ids, "[n]", {ids.n[0]}, DType::i32);
  check_optional(op, "more_ids", more_ids, "[N-n]", {more_ids.n[0]}, DType::i32);
}

}  // namespace

void embedding_forward(const Exec& exec, const EmbeddingForward& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.ids.n[0], V = args.E.n[0], D = args.E.n[1];
  const DType act = args.E.dtype;
  check_shape("embedding_forward", "E", args.E, "[V,D]", {V, D}, act);
  check_shape("embedding_forward", "ids", args.ids, "[N]", {N}, DType::i32);
  check_shape("embedding_forward", "y", args.y, "[N,D]", {N, D}, act);
  dispatch<cpu::embedding_forward, cuda::embedding_forward>(exec, args);
}

void embedding_backward(const Exec& exec, const EmbeddingBackward& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.ids.n[0] + args.more_ids.n[0], V = args.dE.n[0], D = args.dE.n[1];
  const DType act = args.dy.dtype;
  check_shape("embedding_backward", "dE", args.dE, "[V,D]", {V, D}, accumulate_type(act));
  check_ids("embedding_backward", args.ids, args.more_ids);
  check_shape("embedding_backward", "dy", args.dy, "[N,D]", {N, D}, act);
  check_scratch("embedding_backward", exec, args.dy, args.scratch);
  dispatch<cpu::embedding_backward, cuda::embedding_backward>(exec, args);
}

void embedding_rows_backward(const Exec& exec, const EmbeddingRowsBackward& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "embedding_rows_backward";
  const int64_t N = args.ids.n[0] + args.more_ids.n[0], D = args.dy.n[1];
  const DType act = args.dy.dtype;
  check_shape(op, "dE.rows", args.dE.rows, "[N,D]", {N, D}, accumulate_type(act));
  check_shape(op, "dE.words", args.dE.words, "[N]", {N}, DType::u32);
  check_ids(op, args.ids, args.more_ids);
  check_shape(op, "dy", args.dy, "[N,D]", {N, D}, act);
  check_scratch(op, exec, args.dy, args.scratch);
  dispatch<cpu::embedding_rows_backward, cuda::embedding_rows_backward>(exec, args);
}

size_t embedding_scratch_bytes(const Exec& exec, DType act, int N, int64_t D) {
  return EmbeddingScratch(exec, act, N, D).bytes;
}

}  // namespace unroll
