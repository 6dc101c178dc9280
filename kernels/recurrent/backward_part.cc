// Shape checks and dispatch of parts of a backward pass.
#include "kernels/recurrent/backward_part.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

void check(const RecurrentBackward& a, const BackwardCarry& carry) {
  const char* op = "recurrent_backward_part";
  const CellInfo& info = info_of(a.cell);
  const DType act = a.h.dtype, acc = accumulate_type(act);
  const int64_t T = a.h.n[0] - 1, B = a.h.n[1], H = a.h.n[2], GH = info.gates * H;
  if (T < 1 || a.reverse || a.noise.any() || a.lengths)
    throw Error(std::string(op) + ": h is " + shape_text(a.h) +
                ", expected [T+1,B,H] of a part that runs forward in time, without noise and "
                "lengths; run other layers in one pass");
  check_shape(op, "dWx", a.dWx, "[T,B,GH]", {T, B, GH}, act);
  if (info.split) check_shape(op, "dRh", a.dRh, "[T,B,GH]", {T, B, GH}, act);
  check_shape(op, "dh", a.dh, "[T,B,H]", {T, B, H}, act);
  if (info.states == 2) check_shape(op, "c", a.c, "[T+1,B,H]", {T + 1, B, H}, acc);
  if (info.saved > 0) check_shape(op, "saved", a.saved, "[T,B,SH]", {T, B, info.saved * H}, act);
  check_shape(op, "R", a.R, "[GH,H]", {GH, H}, act);
  check_optional(op, "dRh_next", carry.dRh_next, "[B,GH]", {B, GH}, act);
  check_shape(op, "past_R", carry.past_R, "[2,B,H]", {2, B, H}, acc);
}

void run(const Exec& exec, const RecurrentBackward* passes, const BackwardCarry* carries,
         int count) {
  for (int i = 0; i < count; ++i) check(passes[i], carries[i]);
  if constexpr (kBuiltWithCuda) {
    if (exec.kind == DeviceKind::cuda)
      return cuda::persistent_backward_parts(exec, passes, carries, count);
  }
  throw Error(ErrorKind::usage,
              "recurrent_backward_part: parts run in the persistent schedule of a GPU only; use "
              "recurrent_backward");
}

}  // namespace

void recurrent_backward_part(const Exec& exec, const RecurrentBackward& args,
                             const BackwardCarry& carry) {
  if (exec.kind != DeviceKind::none) run(exec, &args, &carry, 1);
}

void recurrent_backward_part_pair(const Exec& exec, const RecurrentBackward& first,
                                  const BackwardCarry& first_carry, const RecurrentBackward& second,
                                  const BackwardCarry& second_carry) {
  if (exec.kind == DeviceKind::none) return;
  const RecurrentBackward passes[2] = {first, second};
  const BackwardCarry carries[2] = {first_carry, second_carry};
  run(exec, passes, carries, 2);
}

}  // namespace unroll
