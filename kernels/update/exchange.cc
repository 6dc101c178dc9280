// Shape checks and dispatch of exchange.
#include "kernels/update/exchange.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void exchange(const Exec& exec, const Exchange& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.theta.n[0], P = args.pieces.n[0];
  const DType dtype = args.theta.dtype;
  check_shape("exchange", "theta", args.theta, "[n]", {n}, dtype);
  check_optional("exchange", "other", args.other, "[n]", {n}, dtype);
  check_optional("exchange", "shadow", args.shadow, "[m]", {args.shadow.n[0]}, DType::bf16);
  check_shape("exchange", "pieces", args.pieces, "[P,kPieceWords]", {P, kPieceWords}, DType::u64);
  dispatch<cpu::exchange, cuda::exchange>(exec, args);
}

}  // namespace unroll
