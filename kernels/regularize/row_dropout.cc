// Shape checks and dispatch of row_dropout.
#include "kernels/regularize/row_dropout.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void row_dropout(const Exec& exec, const RowDropout& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.x.n[0], D = args.x.n[1];
  check_shape("row_dropout", "x", args.x, "[N,D]", {N, D}, args.x.dtype);
  check_shape("row_dropout", "y", args.y, "[N,D]", {N, D}, args.x.dtype);
  check_shape("row_dropout", "ids", args.ids, "[N]", {N}, DType::i32);
  check_shape("row_dropout", "key.counter", args.key.counter, "[2]", {2}, DType::u64);
  UNROLL_CHECK(args.p >= 0 && args.p < 1,
               "row_dropout: p is " + std::to_string(args.p) + ", expected 0 <= p < 1");
  dispatch<cpu::row_dropout, cuda::row_dropout>(exec, args);
}

}  // namespace unroll
