// Shape checks and dispatch of add_scaled.
#include "kernels/elementwise/add.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void add_scaled(const Exec& exec, const AddScaled& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.x.n[0], D = args.x.n[1];
  check_shape("add_scaled", "x", args.x, "[N,D]", {N, D}, args.x.dtype);
  check_shape("add_scaled", "y", args.y, "[N,D]", {N, D}, args.y.dtype);
  UNROLL_CHECK((args.x.dtype == DType::f64) == (args.y.dtype == DType::f64),
               std::string("add_scaled: x is ") + name_of(args.x.dtype) + " and y is " +
                   name_of(args.y.dtype) + "; f64 goes only with f64");
  dispatch<cpu::add_scaled, cuda::add_scaled>(exec, args);
}

}  // namespace unroll
