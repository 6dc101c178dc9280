// Shape checks and dispatch of update.
#include "kernels/update/update.h"

#include <algorithm>

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void update(const Exec& exec, const Update& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.theta.n[0], P = args.pieces.n[0];
  const DType dtype = args.theta.dtype;
  check_shape("update", "theta", args.theta, "[n]", {n}, dtype);
  check_shape("update", "g", args.g, "[m]", {std::min(n, args.g.n[0])}, dtype);
  const int slots = slots_of(args.rule);
  if (slots > 0) check_shape("update", "a", args.a, "[n]", {n}, dtype);
  if (slots > 1) check_shape("update", "b", args.b, "[n]", {n}, dtype);
  check_optional("update", "shadow", args.shadow, "[m]", {args.shadow.n[0]}, DType::bf16);
  check_shape("update", "pieces", args.pieces, "[P,kPieceWords]", {P, kPieceWords}, DType::u64);
  check_shape("update", "scales", args.scales, "[kUpdateScales+G]", {args.scales.n[0]}, DType::f64);
  UNROLL_CHECK(args.scales.n[0] > kUpdateScales, "update: scales hold no factor of a clip group");
  dispatch<cpu::update, cuda::update>(exec, args);
}

}  // namespace unroll
