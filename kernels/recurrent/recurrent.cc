// Shape checks and dispatch of the recurrent layer, and its weight gradients composed of a product
// and column sums.
#include "kernels/recurrent/recurrent.h"

#include <algorithm>

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"
#include "kernels/elementwise/bias_act.h"
#include "kernels/gemm/gemm.h"
#include "kernels/recurrent/persistent_cuda.h"
#include "kernels/recurrent/recurrent_scratch.h"
#include "kernels/recurrent/step_cuda.h"

namespace unroll {
namespace {

// The letters of one call.
struct Dims {
  int64_t T, B, H, GH, SH;
  DType act, acc;
  CellInfo cell;
};

Dims dims_of(const char* op, Cell cell, const View3& h) {
  const CellInfo& info = info_of(cell);
  const Dims d = {h.n[0] - 1,
                  h.n[1],
                  h.n[2],
                  info.gates * h.n[2],
                  info.saved * h.n[2],
                  h.dtype,
                  accumulate_type(h.dtype),
                  info};
  if (d.T < 1 || d.B < 1 || d.H < 1)
    throw Error(std::string(op) + ": h is " + shape_text(h) +
                ", expected [T+1,B,H] with T, B and H at least 1");
  check_shape(op, "h", h, "[T+1,B,H]", {d.T + 1, d.B, d.H}, d.act);
  return d;
}

void check_scratch(const char* op, const Exec& exec, Cell cell, const Dims& d, const Scratch& s) {
  const size_t needed = recurrent_scratch_bytes(exec, cell, d.act, int(d.T), int(d.B), int(d.H));
  if (s.bytes < needed)
    throw Error(std::string(op) + ": scratch is " + std::to_string(s.bytes) +
                " bytes, expected recurrent_scratch_bytes = " + std::to_string(needed));
}

void check_state_c(const char* op, const Dims& d, const View3& c) {
  if (d.cell.states == 2) check_shape(op, "c", c, "[T+1,B,H]", {d.T + 1, d.B, d.H}, d.acc);
}

// Runs the pass in the schedule that `a` asks for, or the one chosen for it. Members of Passes: the
// bodies of one pass.
template <class Passes, class Args>
void run(const Exec& exec, const Args& a, const Dims& d) {
  const Schedule schedule =
      choose_schedule(exec, a.schedule, a.cell, d.act, d.T, d.B, d.H).schedule;
  switch (schedule) {
    case Schedule::automatic:  // the CPU's loop
    case Schedule::alternating:
      return dispatch<Passes::loop, Passes::alternating>(exec, a);
    case Schedule::step:
      return dispatch<Passes::loop, Passes::step>(exec, a);
    case Schedule::persistent:
      return dispatch<Passes::loop, Passes::persistent>(exec, a);
  }
}

struct ForwardPasses {
  using Pass = void (*)(const Exec&, const RecurrentForward&);
  static constexpr Pass loop = &cpu::recurrent_forward;
  static constexpr Pass alternating = &cuda::alternating_forward;
  static constexpr Pass step = &cuda::step_forward;
  static constexpr Pass persistent = &cuda::persistent_forward;
};
struct BackwardPasses {
  using Pass = void (*)(const Exec&, const RecurrentBackward&);
  static constexpr Pass loop = &cpu::recurrent_backward;
  static constexpr Pass alternating = &cuda::alternating_backward;
  static constexpr Pass step = &cuda::step_backward;
  static constexpr Pass persistent = &cuda::persistent_backward;
};

}  // namespace

void recurrent_forward(const Exec& exec, const RecurrentForward& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "recurrent_forward";
  const Dims d = dims_of(op, a.cell, a.h);
  check_state_c(op, d, a.c);
  if (d.SH > 0) check_optional(op, "saved", a.saved, "[T,B,SH]", {d.T, d.B, d.SH}, d.act);
  check_shape(op, "Wx", a.Wx, "[T,B,GH]", {d.T, d.B, d.GH}, d.acc);
  check_shape(op, "R", a.R, "[GH,H]", {d.GH, d.H}, d.act);
  check_optional(op, "b_W", a.b_W, "[GH]", {d.GH}, d.acc);
  check_optional(op, "b_R", a.b_R, "[GH]", {d.GH}, d.acc);
  check_optional(op, "lengths", a.lengths, "[B]", {d.B}, DType::i32);
  check_scratch(op, exec, a.cell, d, a.scratch);
  run<ForwardPasses>(exec, a, d);
}

void recurrent_backward(const Exec& exec, const RecurrentBackward& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "recurrent_backward";
  const Dims d = dims_of(op, a.cell, a.h);
  check_shape(op, "dWx", a.dWx, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  if (d.cell.split) check_shape(op, "dRh", a.dRh, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  check_shape(op, "dh", a.dh, "[T,B,H]", {d.T, d.B, d.H}, d.act);
  check_state_c(op, d, a.c);
  if (d.SH > 0) check_shape(op, "saved", a.saved, "[T,B,SH]", {d.T, d.B, d.SH}, d.act);
  check_shape(op, "R", a.R, "[GH,H]", {d.GH, d.H}, d.act);
  check_optional(op, "lengths", a.lengths, "[B]", {d.B}, DType::i32);
  check_scratch(op, exec, a.cell, d, a.scratch);
  run<BackwardPasses>(exec, a, d);
}

void recurrent_weight_gradients(const Exec& exec, const RecurrentWeightGradients& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "recurrent_weight_gradients";
  const Dims d = dims_of(op, a.cell, a.h);
  check_shape(op, "dWx", a.dWx, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  if (d.cell.split) check_shape(op, "dRh", a.dRh, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  check_shape(op, "dR", a.dR, "[GH,H]", {d.GH, d.H}, d.acc);
  check_optional(op, "db_W", a.db_W, "[GH]", {d.GH}, d.acc);
  check_optional(op, "db_R", a.db_R, "[GH]", {d.GH}, d.acc);

  const View3& dRh = d.cell.split ? a.dRh : a.dWx;
  const View3 h_tm1 = a.h.slice(a.reverse ? 1 : 0, d.T);
  gemm(exec, {.C = a.dR,
              .A = dRh.matrix(),
              .B = h_tm1.matrix(),
              .transpose_A = Transpose::yes,
              .beta = beta_of(a.to_dR)});
  if (a.db_W) column_sum(exec, {.sum = a.db_W, .x = a.dWx.matrix(), .to_sum = a.to_db_W});
  if (a.db_R) column_sum(exec, {.sum = a.db_R, .x = dRh.matrix(), .to_sum = a.to_db_R});
}

size_t recurrent_scratch_bytes(const Exec& exec, Cell cell, DType act, int T, int B, int H) {
  // A measuring run on behalf of CUDA carries its BLAS handle.
  const bool on_cuda = exec.kind == DeviceKind::cuda || exec.blas != nullptr;
  const size_t common = recurrent_scratch(nullptr, cell, act, B, H).bytes;
  if (!on_cuda) return common + cpu::recurrent_packed_bytes(exec, cell, act, T, B, H);
  const size_t persistent = act == DType::bf16 ? persistent_scratch_bytes(cell, T, B, H) : 0;
  return std::max({common, step_scratch_bytes(cell, act, B, H), persistent});
}

}  // namespace unroll
