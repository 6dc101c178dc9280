// Shape checks and dispatch of the sampler.
#include "kernels/heads/sampler.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void draw_samples(const Exec& exec, const DrawSamples& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "draw_samples";
  const int64_t S = args.ids.n[0], V = args.keep.n[0];
  check_shape(op, "ids", args.ids, "[S]", {S}, DType::i32);
  check_shape(op, "keep", args.keep, "[V]", {V}, DType::u32);
  check_shape(op, "alias", args.alias, "[V]", {V}, DType::i32);
  check_shape(op, "counter", args.counter, "[2]", {2}, DType::u64);
  UNROLL_CHECK(V > 0, "draw_samples: the tables are empty");
  if (S > 0) dispatch<cpu::draw_samples, cuda::draw_samples>(exec, args);
}

}  // namespace unroll
