// CPU body of gaussian_noise.
#include "kernels/base/cpu_dtype.h"
#include "kernels/regularize/gaussian_noise.h"
#include "kernels/regularize/normal.h"

namespace unroll::cpu {

void gaussian_noise(const Exec& exec, const GaussianNoise& args) {
  const uint64_t* counter = args.key.counter.as<uint64_t>().data;
  const uint64_t seed = counter[0], step = counter[1];
  with_real("gaussian_noise", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto x = args.x.as<T>(), y = args.y.as<T>();
    const T deviation = T(args.deviation);
    const int64_t D = y.n[1];
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t n = 0; n < y.n[0]; ++n) {
      Philox4 words{};
      for (int64_t d = 0; d < D; ++d) {
        const int64_t e = n * D + d;
        if (d == 0 || e % 4 == 0) words = philox_block(seed, step, args.key.op, uint64_t(e / 4));
        y(n, d) = x(n, d) + deviation * normal_of<T>(words, int(e % 4));
      }
    }
  });
}

}  // namespace unroll::cpu
