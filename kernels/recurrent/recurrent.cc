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

void check_scratch(const char* op, const Exec& exec, Cell cell, const Dims& d, const LoopNorm& norm,
                   const Scratch& s) {
  const size_t needed =
      recurrent_scratch_bytes(exec, cell, d.act, int(d.T), int(d.B), int(d.H), bool(norm));
  if (s.bytes < needed)
    throw Error(std::string(op) + ": scratch is " + std::to_string(s.bytes) +
                " bytes, expected recurrent_scratch_bytes = " + std::to_string(needed));
}

void check_state_c(const char* op, const Dims& d, const View3& c) {
  if (d.cell.states == 2) check_shape(op, "c", c, "[T+1,B,H]", {d.T + 1, d.B, d.H}, d.acc);
}

void check_noise(const char* op, const Dims& d, const StateNoise& n, int64_t first_step) {
  const auto check_rate = [&](const char* name, double rate) {
    if (!(rate >= 0 && rate < 1))
      throw Error(std::string(op) + ": noise." + name + " is " + std::to_string(rate) +
                  ", expected 0 <= rate < 1");
  };
  check_rate("zoneout_h", n.zoneout_h);
  check_rate("zoneout_c", n.zoneout_c);
  check_rate("dropout", n.dropout);
  if (n.zoneout_c > 0 && d.cell.states == 1)
    throw Error(std::string(op) + ": noise.zoneout_c is given, and a cell of " + d.cell.name +
                " has no c; leave it out");
  // Of the whole chunk, which may go on after this part.
  const int64_t end = first_step + d.T;
  check_optional(op, "noise.resets", n.resets, "[T,B]", {std::max(end, n.resets.n[0]), d.B},
                 DType::i32);
  if (n.draws()) check_shape(op, "noise.key.counter", n.key.counter, "[2]", {2}, DType::u64);
}

// `kept`: with what backward reads.
void check_norm(const char* op, Cell cell, const Dims& d, const LoopNorm& n, bool kept) {
  if (!n) return;
  if (!(n.eps > 0))
    throw Error(std::string(op) + ": norm.eps is " + std::to_string(n.eps) + ", expected above 0");
  check_shape(op, "norm.g_R", n.g_R, "[GH]", {d.GH}, d.acc);
  if (kept) {
    const int64_t K = norm_groups(cell);
    check_shape(op, "norm.Rh_hat", n.Rh_hat, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
    check_shape(op, "norm.Rh_rstd", n.Rh_rstd, "[T,K,B]", {d.T, K, d.B}, d.acc);
  }
  if (d.cell.states == 1) return;
  check_shape(op, "norm.g_c", n.g_c, "[H]", {d.H}, d.acc);
  check_shape(op, "norm.b_c", n.b_c, "[H]", {d.H}, d.acc);
  if (!kept) return;
  check_shape(op, "norm.c_hat", n.c_hat, "[T,B,H]", {d.T, d.B, d.H}, d.act);
  check_shape(op, "norm.c_rstd", n.c_rstd, "[T,B]", {d.T, d.B}, d.acc);
}

// The schedule that `a` asks for, or the one chosen for it.
template <class Args>
Schedule schedule_for(const Exec& exec, const Args& a, const Dims& d) {
  return choose_schedule(exec, a.schedule, a.cell, d.act, d.T, d.B, d.H, bool(a.norm)).schedule;
}

// Runs the pass in its schedule. Members of Passes: the bodies of one pass, and of two at once.
template <class Passes, class Args>
void run(const Exec& exec, const Args& a, const Dims& d) {
  const Schedule schedule = schedule_for(exec, a, d);
  if (a.mask && !takes_mask(schedule))
    throw Error(ErrorKind::usage,
                std::string("recurrent: mask is given, and ") +
                    (exec.kind == DeviceKind::cpu ? "the CPU" : "the alternating schedule") +
                    " multiplies by R where it lies; leave the mask out and give a masked copy as "
                    "R (WeightDrop::y)");
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
  static constexpr auto persistent_pair = &cuda::persistent_forward_pair;
};
struct BackwardPasses {
  using Pass = void (*)(const Exec&, const RecurrentBackward&);
  static constexpr Pass loop = &cpu::recurrent_backward;
  static constexpr Pass alternating = &cuda::alternating_backward;
  static constexpr Pass step = &cuda::step_backward;
  static constexpr Pass persistent = &cuda::persistent_backward;
  static constexpr auto persistent_pair = &cuda::persistent_backward_pair;
};

Dims checked(const Exec& exec, const RecurrentForward& a) {
  const char* op = "recurrent_forward";
  const Dims d = dims_of(op, a.cell, a.h);
  check_state_c(op, d, a.c);
  if (d.SH > 0) check_optional(op, "saved", a.saved, "[T,B,SH]", {d.T, d.B, d.SH}, d.act);
  check_shape(op, "Wx", a.Wx, "[T,B,GH]", {d.T, d.B, d.GH}, d.acc);
  check_shape(op, "R", a.R, "[GH,H]", {d.GH, d.H}, d.act);
  check_mask(op, a.mask, d.GH, d.H);
  check_optional(op, "b_W", a.b_W, "[GH]", {d.GH}, d.acc);
  check_optional(op, "b_R", a.b_R, "[GH]", {d.GH}, d.acc);
  check_optional(op, "lengths", a.lengths, "[B]", {d.B}, DType::i32);
  check_noise(op, d, a.noise, a.first_step);
  check_norm(op, a.cell, d, a.norm, bool(a.norm.Rh_hat));
  if (a.noise.masks_h()) check_shape(op, "h_in", a.h_in, "[T,B,H]", {d.T, d.B, d.H}, d.act);
  if (needs_fresh(a.cell, a.noise, bool(a.norm)))
    check_optional(op, "fresh", a.fresh, "[T,B,H]", {d.T, d.B, d.H}, d.acc);
  check_scratch(op, exec, a.cell, d, a.norm, a.scratch);
  return d;
}

Dims checked(const Exec& exec, const RecurrentBackward& a, const char* op = "recurrent_backward") {
  const Dims d = dims_of(op, a.cell, a.h);
  check_shape(op, "dWx", a.dWx, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  if (d.cell.split || a.norm) check_shape(op, "dRh", a.dRh, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  check_norm(op, a.cell, d, a.norm, true);
  if (a.norm && d.cell.split) check_shape(op, "dN", a.dN, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  if (a.norm && d.cell.states == 2)
    check_shape(op, "dn_c", a.dn_c, "[T,B,H]", {d.T, d.B, d.H}, d.act);
  check_shape(op, "dh", a.dh, "[T,B,H]", {d.T, d.B, d.H}, d.act);
  check_state_c(op, d, a.c);
  if (d.SH > 0) check_shape(op, "saved", a.saved, "[T,B,SH]", {d.T, d.B, d.SH}, d.act);
  check_shape(op, "R", a.R, "[GH,H]", {d.GH, d.H}, d.act);
  check_mask(op, a.mask, d.GH, d.H);
  check_optional(op, "lengths", a.lengths, "[B]", {d.B}, DType::i32);
  check_noise(op, d, a.noise, a.first_step);
  if (needs_fresh(a.cell, a.noise, bool(a.norm)))
    check_shape(op, "fresh", a.fresh, "[T,B,H]", {d.T, d.B, d.H}, d.acc);
  check_scratch(op, exec, a.cell, d, a.norm, a.scratch);
  return d;
}

template <class Passes, class Args>
void run_pair(const char* op, const Exec& exec, const Args& first, const Args& second) {
  const Dims d = checked(exec, first), e = checked(exec, second);
  if (first.cell != second.cell || first.schedule != second.schedule || d.T != e.T || d.B != e.B ||
      d.H != e.H || d.act != e.act)
    throw Error(std::string(op) + ": h is " + shape_text(first.h) + " and " + shape_text(second.h) +
                ", expected one cell, schedule, shape and type for both");
  if constexpr (kBuiltWithCuda) {
    if (exec.kind == DeviceKind::cuda && schedule_for(exec, first, d) == Schedule::persistent &&
        schedule_for(exec, second, e) == Schedule::persistent &&
        cuda::persistent_obstacle(exec, first.cell, d.act, d.B, d.H, 2).empty())
      return Passes::persistent_pair(exec, first, second);
  }
  run<Passes>(exec, first, d);
  run<Passes>(exec, second, e);
}

}  // namespace

void check_mask(const char* op, const WeightMask& mask, int64_t GH, int64_t H) {
  check_optional(op, "mask.bits", mask.bits, "[GH,ceil(H/32)]", {GH, (H + 31) / 32}, DType::u32);
  if (!(mask.p >= 0 && mask.p < 1))
    throw Error(std::string(op) + ": mask.p is " + std::to_string(mask.p) +
                ", expected 0 <= p < 1");
}

void recurrent_forward(const Exec& exec, const RecurrentForward& a) {
  if (exec.kind != DeviceKind::none) run<ForwardPasses>(exec, a, checked(exec, a));
}
void recurrent_backward(const Exec& exec, const RecurrentBackward& a) {
  if (exec.kind != DeviceKind::none) run<BackwardPasses>(exec, a, checked(exec, a));
}

void check_recurrent_backward(const char* op, const Exec& exec, const RecurrentBackward& a) {
  checked(exec, a, op);
}

void recurrent_forward_pair(const Exec& exec, const RecurrentForward& first,
                            const RecurrentForward& second) {
  if (exec.kind != DeviceKind::none)
    run_pair<ForwardPasses>("recurrent_forward_pair", exec, first, second);
}
void recurrent_backward_pair(const Exec& exec, const RecurrentBackward& first,
                             const RecurrentBackward& second) {
  if (exec.kind != DeviceKind::none)
    run_pair<BackwardPasses>("recurrent_backward_pair", exec, first, second);
}

void recurrent_weight_gradients(const Exec& exec, const RecurrentWeightGradients& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "recurrent_weight_gradients";
  const Dims d = dims_of(op, a.cell, a.h);
  check_shape(op, "dWx", a.dWx, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  if (d.cell.split || a.dRh) check_shape(op, "dRh", a.dRh, "[T,B,GH]", {d.T, d.B, d.GH}, d.act);
  check_shape(op, "dR", a.dR, "[GH,H]", {d.GH, d.H}, d.acc);
  check_optional(op, "db_W", a.db_W, "[GH]", {d.GH}, d.acc);
  check_optional(op, "db_R", a.db_R, "[GH]", {d.GH}, d.acc);
  check_optional(op, "h_in", a.h_in, "[T,B,H]", {d.T, d.B, d.H}, d.act);

  const View3& dRh = a.dRh ? a.dRh : a.dWx;
  const View3 h_tm1 = a.h_in ? a.h_in : a.h.slice(a.reverse ? 1 : 0, d.T);
  gemm(exec, {.C = a.dR,
              .A = dRh.matrix(),
              .B = h_tm1.matrix(),
              .transpose_A = Transpose::yes,
              .beta = beta_of(a.to_dR)});
  if (a.db_W) column_sum(exec, {.sum = a.db_W, .x = a.dWx.matrix(), .to_sum = a.to_db_W});
  if (a.db_R) column_sum(exec, {.sum = a.db_R, .x = dRh.matrix(), .to_sum = a.to_db_R});
}

size_t recurrent_scratch_bytes(const Exec& exec, Cell cell, DType act, int T, int B, int H,
                               bool normalised) {
  // A measuring run on behalf of CUDA carries its BLAS handle.
  const bool on_cuda = exec.kind == DeviceKind::cuda || exec.blas != nullptr;
  const size_t common = recurrent_scratch(nullptr, cell, act, B, H, normalised).bytes;
  if (!on_cuda) return common + cpu::recurrent_packed_bytes(exec, cell, act, T, B, H);
  if (normalised) return common + step_scratch_bytes(cell, act, B, H);
  return std::max(
      {common, step_scratch_bytes(cell, act, B, H), persistent_scratch_bytes(cell, act, T, B, H)});
}

}  // namespace unroll
