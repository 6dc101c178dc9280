// Shape checks and dispatch of the embedding ops.
#include "kernels/embedding/embedding.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

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
  const int64_t N = args.ids.n[0], V = args.dE.n[0], D = args.dE.n[1];
  const DType act = args.dy.dtype;
  check_shape("embedding_backward", "dE", args.dE, "[V,D]", {V, D}, accumulate_type(act));
  check_shape("embedding_backward", "ids", args.ids, "[N]", {N}, DType::i32);
  check_shape("embedding_backward", "dy", args.dy, "[N,D]", {N, D}, act);
  const size_t needed = embedding_scratch_bytes(exec, int(N), int(V));
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "embedding_backward: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, embedding_scratch_bytes asks for " + std::to_string(needed));
  dispatch<cpu::embedding_backward, cuda::embedding_backward>(exec, args);
}

size_t embedding_scratch_bytes(const Exec& exec, int N, int V) {
  // A measuring run on behalf of CUDA carries its BLAS handle.
  if constexpr (kBuiltWithCuda) {
    if (exec.kind == DeviceKind::cuda || exec.blas) return cuda::embedding_scratch_bytes(N, V);
  }
  return (size_t(V) + 1 + size_t(N)) * sizeof(uint32_t);  // counting sort on the CPU
}

}  // namespace unroll
