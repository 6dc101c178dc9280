// Shape checks and dispatch of the carried state.
#include "kernels/recurrent/carry_state.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void carry_state(const Exec& exec, const CarryState& a) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t B = a.x.n[0], H = a.x.n[1];
  check_shape("carry_state", "x", a.x, "[B,H]", {B, H}, a.x.dtype);
  check_shape("carry_state", "y", a.y, "[B,H]", {B, H}, a.x.dtype);
  check_optional("carry_state", "keep", a.keep, "[B]", {B}, DType::i32);
  dispatch<cpu::carry_state, cuda::carry_state>(exec, a);
}

}  // namespace unroll
