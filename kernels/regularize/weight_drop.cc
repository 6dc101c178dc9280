// Shape checks and dispatch of weight drop.
#include "kernels/regularize/weight_drop.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {
namespace {

void check_p(const char* op, double p) {
  UNROLL_CHECK(p >= 0 && p < 1,
               std::string(op) + ": p is " + std::to_string(p) + ", expected 0 <= p < 1");
}

}  // namespace

void weight_drop_forward(const Exec& exec, const WeightDrop& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "weight_drop_forward";
  const int64_t N = args.x.n[0], D = args.x.n[1];
  check_optional(op, "y", args.y, "[N,D]", {N, D}, args.y.dtype);
  check_shape(op, "x", args.x, "[N,D]", {N, D},
              args.y ? accumulate_type(args.y.dtype) : args.x.dtype);
  check_shape(op, "bits", args.bits, "[N,ceil(D/32)]", {N, weight_drop_words(D)}, DType::u32);
  check_shape(op, "key.counter", args.key.counter, "[2]", {2}, DType::u64);
  check_p(op, args.p);
  dispatch<cpu::weight_drop_forward, cuda::weight_drop_forward>(exec, args);
}

void weight_drop_backward(const Exec& exec, const WeightDropBackward& args) {
  if (exec.kind == DeviceKind::none) return;
  const char* op = "weight_drop_backward";
  const int64_t N = args.dx.n[0], D = args.dx.n[1];
  check_shape(op, "dx", args.dx, "[N,D]", {N, D}, args.dx.dtype);
  check_shape(op, "dy", args.dy, "[N,D]", {N, D}, args.dx.dtype);
  check_shape(op, "bits", args.bits, "[N,ceil(D/32)]", {N, weight_drop_words(D)}, DType::u32);
  check_p(op, args.p);
  dispatch<cpu::weight_drop_backward, cuda::weight_drop_backward>(exec, args);
}

}  // namespace unroll
