// Shape checks and dispatch of gaussian_noise.
#include "kernels/regularize/gaussian_noise.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void gaussian_noise(const Exec& exec, const GaussianNoise& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t N = args.x.n[0], D = args.x.n[1];
  check_shape("gaussian_noise", "x", args.x, "[N,D]", {N, D}, args.x.dtype);
  check_shape("gaussian_noise", "y", args.y, "[N,D]", {N, D}, args.x.dtype);
  check_shape("gaussian_noise", "key.counter", args.key.counter, "[2]", {2}, DType::u64);
  UNROLL_CHECK(args.deviation >= 0, "gaussian_noise: deviation is " +
                                        std::to_string(args.deviation) + ", expected 0 or more");
  dispatch<cpu::gaussian_noise, cuda::gaussian_noise>(exec, args);
}

}  // namespace unroll
