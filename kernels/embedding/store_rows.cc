// Shape checks and dispatch of store_rows.
#include "kernels/embedding/store_rows.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void store_rows(const Exec& exec, const StoreRows& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "store_rows";
  const int64_t P = args.ids.n[0], N = args.g.words.n[0], D = args.terms.n[1];
  const DType dtype = args.terms.dtype;
  check_shape(op, "ids", args.ids, "[P]", {P}, DType::i32);
  check_shape(op, "terms", args.terms, "[P,D]", {P, D}, dtype);
  check_shape(op, "g.words", args.g.words, "[N]", {N}, DType::u32);
  check_shape(op, "g.rows", args.g.rows, "[N,D]", {N, D}, dtype);
  UNROLL_CHECK(N <= P, "store_rows: there are places for " + std::to_string(P) +
                           " rows, and the gradient has " + std::to_string(N));
  dispatch<cpu::store_rows, cuda::store_rows>(exec, args);
}

}  // namespace unroll
