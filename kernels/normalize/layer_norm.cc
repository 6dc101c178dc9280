// Shape checks and dispatch of layer normalisation.
#include "kernels/normalize/layer_norm.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void layer_norm_forward(const Exec& exec, const LayerNorm& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "layer_norm_forward";
  const int64_t N = a.x.n[0], D = a.x.n[1];
  const DType acc = a.x.dtype;
  if (D < 1) throw Error(std::string(op) + ": x is " + shape_text(a.x) + ", expected D at least 1");
  if (!(a.eps > 0))
    throw Error(std::string(op) + ": eps is " + std::to_string(a.eps) + ", expected above 0");
  check_shape(op, "x", a.x, "[N,D]", {N, D}, accumulate_type(acc));
  check_shape(op, "y", a.y, "[N,D]", {N, D}, acc);
  check_shape(op, "g", a.g, "[D]", {D}, acc);
  check_optional(op, "b", a.b, "[D]", {D}, acc);
  if (a.x_hat) {
    const DType act = a.x_hat.dtype;
    if (accumulate_type(act) != acc)
      throw Error(std::string(op) + ": x_hat is " + name_of(act) + " and x " + name_of(acc) +
                  ", expected x in the accumulate type of x_hat");
    check_shape(op, "x_hat", a.x_hat, "[N,D]", {N, D}, act);
    check_shape(op, "rstd", a.rstd, "[N]", {N}, acc);
  }
  if (N > 0) dispatch<cpu::layer_norm_forward, cuda::layer_norm_forward>(exec, a);
}

void layer_norm_backward(const Exec& exec, const LayerNormBackward& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "layer_norm_backward";
  const int64_t N = a.dy.n[0], D = a.dy.n[1];
  const DType act = a.dy.dtype, acc = accumulate_type(act);
  check_shape(op, "dy", a.dy, "[N,D]", {N, D}, act);
  check_shape(op, "dx", a.dx, "[N,D]", {N, D}, act);
  check_shape(op, "x_hat", a.x_hat, "[N,D]", {N, D}, act);
  check_shape(op, "rstd", a.rstd, "[N]", {N}, acc);
  check_shape(op, "g", a.g, "[D]", {D}, acc);
  if (a.dy.size() > 0) dispatch<cpu::layer_norm_backward, cuda::layer_norm_backward>(exec, a);
}

void layer_norm_gain_gradient(const Exec& exec, const LayerNormGain& a) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "layer_norm_gain_gradient";
  const int64_t N = a.dy.n[0], D = a.dy.n[1];
  const DType act = a.dy.dtype;
  check_shape(op, "dy", a.dy, "[N,D]", {N, D}, act);
  check_shape(op, "x_hat", a.x_hat, "[N,D]", {N, D}, act);
  check_shape(op, "dg", a.dg, "[D]", {D}, accumulate_type(act));
  if (D > 0) dispatch<cpu::layer_norm_gain_gradient, cuda::layer_norm_gain_gradient>(exec, a);
}

}  // namespace unroll
