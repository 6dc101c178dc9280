// CPU bodies of weight drop.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/philox.h"
#include "kernels/regularize/weight_drop.h"

namespace unroll::cpu {

void weight_drop_forward(const Exec& exec, const WeightDrop& args) {
  const uint64_t* counter = args.key.counter.as<uint64_t>().data;
  const uint64_t seed = counter[0], step = counter[1];
  const uint32_t threshold = dropout_threshold(args.p);
  const auto bits = args.bits.as<uint32_t>();
  with_real("weight_drop_forward", (args.y ? args.y : args.x).dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto x = args.x.as<T>(), y = args.y.as<T>();
    const int64_t N = x.n[0], D = x.n[1], row_blocks = (D + 3) / 4;
    const T scale = T(1 / (1 - args.p));
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t r = 0; r < N; ++r)
      for (int64_t word = 0; word < bits.n[1]; ++word) {
        uint32_t kept[32];
        for (int64_t i = 0; i < 8; ++i) {
          const Philox4 block =
              philox_block(seed, step, args.key.op, uint64_t(r * row_blocks + word * 8 + i));
          for (int k = 0; k < 4; ++k) kept[4 * i + k] = block.v[k] >= threshold;
        }
        const int64_t first = word * 32, count = std::min<int64_t>(32, D - first);
        uint32_t packed = 0;
        for (int64_t i = 0; i < count; ++i) {
          packed |= kept[i] << i;
          if (y) y(r, first + i) = kept[i] ? x(r, first + i) * scale : T(0);
        }
        bits(r, word) = packed;
      }
  });
}

void weight_drop_backward(const Exec& exec, const WeightDropBackward& args) {
  const auto bits = args.bits.as<uint32_t>();
  const bool add = args.to_dx == Accumulate::add;
  with_real("weight_drop_backward", args.dx.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto dx = args.dx.as<T>(), dy = args.dy.as<T>();
    const T scale = T(1 / (1 - args.p));
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t r = 0; r < dx.n[0]; ++r)
      for (int64_t c = 0; c < dx.n[1]; ++c) {
        const bool kept = bits(r, c / 32) >> (c % 32) & 1;
        const T term = kept ? dy(r, c) * scale : T(0);
        dx(r, c) = add ? dx(r, c) + term : term;
      }
  });
}

}  // namespace unroll::cpu
