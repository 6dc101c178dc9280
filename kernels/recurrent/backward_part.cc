// Shape checks and dispatch of parts of a backward pass.
#include "kernels/recurrent/backward_part.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

void check(const Exec& exec, const RecurrentBackward& a, const BackwardCarry& carry) {
  const char* op = "recurrent_backward_part";
  const DType act = a.h.dtype, acc = accumulate_type(act);
  const int64_t T = a.h.n[0] - 1, B = a.h.n[1], H = a.h.n[2], GH = info_of(a.cell).gates * H;
  if (a.reverse || a.norm)
    throw Error(std::string(op) + ": the pass " + (a.norm ? "is normalised" : "runs in reverse") +
                ", expected one that does not; run it over the whole chunk at once");
  check_recurrent_backward(op, exec, a);
  const int64_t resets = a.noise.resets.n[0], end = a.first_step + T;
  if (carry.dRh_next && a.noise.resets && resets <= end)
    throw Error(std::string(op) + ": noise.resets ends with step " + std::to_string(resets - 1) +
                ", expected those of the whole chunk: step " + std::to_string(end) +
                " follows on the part");
  check_optional(op, "dRh_next", carry.dRh_next, "[B,GH]", {B, GH}, act);
  check_shape(op, "past_R", carry.past_R, "[2,B,H]", {2, B, H}, acc);
}

void run(const Exec& exec, const RecurrentBackward* passes, const BackwardCarry* carries,
         int count) {
  for (int i = 0; i < count; ++i) check(exec, passes[i], carries[i]);
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
