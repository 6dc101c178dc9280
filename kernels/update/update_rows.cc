// Shape checks and dispatch of update_rows.
#include "kernels/update/update_rows.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void update_rows(const Exec& exec, const UpdateRows& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "update_rows";
  const int64_t V = args.theta.n[0], D = args.theta.n[1], N = args.g.words.n[0];
  const DType dtype = args.theta.dtype;
  check_shape(op, "theta", args.theta, "[V,D]", {V, D}, dtype);
  if (slots_of(args.rule) > 0) check_shape(op, "a", args.a, "[V,D]", {V, D}, dtype);
  check_optional(op, "shadow", args.shadow, "[V,D]", {V, D}, DType::bf16);
  check_shape(op, "g.words", args.g.words, "[N]", {N}, DType::u32);
  check_shape(op, "g.rows", args.g.rows, "[N,D]", {N, D}, dtype);
  check_shape(op, "scales", args.scales, "[kUpdateScales+G]", {args.scales.n[0]}, DType::f64);
  UNROLL_CHECK(args.group >= 0 && kUpdateScales + args.group < args.scales.n[0],
               "update_rows: scales hold no factor of clip group " + std::to_string(args.group));
  UNROLL_CHECK(leaves_untouched(args.rule, args.constants.decay),
               "update_rows: the rule moves rows without a gradient, too; keep the gradient of the "
               "whole weight and use update");
  dispatch<cpu::update_rows, cuda::update_rows>(exec, args);
}

}  // namespace unroll
