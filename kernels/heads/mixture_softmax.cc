// Shape checks and dispatch of the mixture of softmaxes.
#include "kernels/heads/mixture_softmax.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void mixture_targets(const Exec& exec, const MixtureTargets& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.target.n[0], rows = args.to.n[0];
  const int64_t K = N > 0 ? rows / N : 0;
  check_shape("mixture_targets", "target", args.target, "[N]", {N}, DType::i32);
  check_shape("mixture_targets", "to", args.to, "[NK]", {N * K}, DType::i32);
  dispatch<cpu::mixture_targets, cuda::mixture_targets>(exec, args);
}

void mixture_xent(const Exec& exec, const MixtureXent& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "mixture_xent";
  const int64_t N = args.a.n[0], K = args.a.n[1];
  const DType acc = args.a.dtype;
  check_shape(op, "a", args.a, "[N,K]", {N, K}, acc);
  check_shape(op, "nll", args.nll, "[NK]", {N * K}, acc);
  check_shape(op, "target", args.target, "[N]", {N}, DType::i32);
  check_shape(op, "loss", args.loss, "[N]", {N}, acc);
  UNROLL_CHECK(bool(args.da) == bool(args.dnll),
               "mixture_xent: give both da and dnll to train, neither to evaluate");
  if (args.da) {
    check_shape(op, "da", args.da, "[N,K]", {N, K}, args.da.dtype);
    UNROLL_CHECK(accumulate_type(args.da.dtype) == acc,
                 std::string("mixture_xent: da is ") + name_of(args.da.dtype) + " and a is " +
                     name_of(acc) + ", expected a in the type that da accumulates in");
    check_shape(op, "dnll", args.dnll, "[NK]", {N * K}, acc);
    check_shape(op, "dloss", args.dloss, "[N]", {N}, acc);
  }
  dispatch<cpu::mixture_xent, cuda::mixture_xent>(exec, args);
}

void mixture_add_expert(const Exec& exec, const MixtureAddExpert& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "mixture_add_expert";
  const int64_t N = args.log_p.n[0], V = args.log_p.n[1], K = args.a.n[1];
  const DType acc = args.log_p.dtype;
  check_shape(op, "log_p", args.log_p, "[N,V]", {N, V}, acc);
  check_shape(op, "expert", args.expert, "[N,V]", {N, V}, acc);
  check_shape(op, "a", args.a, "[N,K]", {N, K}, acc);
  UNROLL_CHECK(args.k >= 0 && args.k < K, "mixture_add_expert: k is " + std::to_string(args.k) +
                                              ", expected 0 <= k < K = " + std::to_string(K));
  dispatch<cpu::mixture_add_expert, cuda::mixture_add_expert>(exec, args);
}

}  // namespace unroll
