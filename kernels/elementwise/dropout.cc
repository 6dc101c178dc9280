// Shape checks and dispatch of dropout.
#include "kernels/elementwise/dropout.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void dropout(const Exec& exec, const Dropout& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t T = args.x.n[0], B = args.x.n[1], D = args.x.n[2];
  check_shape("dropout", "x", args.x, "[T,B,D]", {T, B, D}, args.x.dtype);
  check_shape("dropout", "y", args.y, "[T,B,D]", {T, B, D}, args.x.dtype);
  check_shape("dropout", "key.counter", args.key.counter, "[2]", {2}, DType::u64);
  UNROLL_CHECK(args.p >= 0 && args.p < 1,
               "dropout: p is " + std::to_string(args.p) + ", expected 0 <= p < 1");
  UNROLL_CHECK(args.first_step >= 0, "dropout: first_step is " + std::to_string(args.first_step) +
                                         ", expected a step of the sequence, counted from 0");
  dispatch<cpu::dropout, cuda::dropout>(exec, args);
}

}  // namespace unroll
