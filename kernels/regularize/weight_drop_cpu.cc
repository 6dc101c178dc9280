// CPU bodies of weight drop: 32 elements at a time, in vector code without branches.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/philox_strip.h"
#include "kernels/regularize/weight_drop.h"

namespace unroll::cpu {
namespace {

constexpr int64_t kWord = 32;  // elements to a word of bits

}  // namespace

void weight_drop_forward(const Exec& exec, const WeightDrop& args) {
  const uint64_t* counter = args.key.counter.as<uint64_t>().data;
  const uint64_t seed = counter[0], step = counter[1];
  const uint32_t threshold = dropout_threshold(args.p);
  const auto bits = args.bits.as<uint32_t>();
  with_real("weight_drop_forward", (args.y ? args.y : args.x).dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto all_x = args.x.as<T>(), all_y = args.y.as<T>();
    const int64_t N = args.x.n[0], D = args.x.n[1], row_blocks = (D + 3) / 4;
    const T scale = T(1 / (1 - args.p));
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t r = 0; r < N; ++r) {
      alignas(64) uint32_t strip[kStrip];
      for (int64_t first = 0; first < D; first += kWord) {
        if (first % kStrip == 0)
          draw_strip(seed, step, args.key.op, uint64_t(r * row_blocks + first / 4),
                     std::min(kStrip, D - first), strip);
        const uint32_t* drawn = strip + first % kStrip;
        const int64_t count = std::min(kWord, D - first);
        uint32_t packed = 0;
#pragma omp simd reduction(| : packed)
        for (int64_t i = 0; i < count; ++i) packed |= uint32_t(drawn[i] >= threshold) << i;
        bits(r, first / kWord) = packed;
        if (!all_y) continue;
        const T* x = all_x.row(r) + first;
        T* y = all_y.row(r) + first;
#pragma omp simd
        for (int64_t i = 0; i < count; ++i) y[i] = drawn[i] >= threshold ? x[i] * scale : T(0);
      }
    }
  });
}

void weight_drop_backward(const Exec& exec, const WeightDropBackward& args) {
  const auto bits = args.bits.as<uint32_t>();
  const bool add = args.to_dx == Accumulate::add;
  with_real("weight_drop_backward", args.dx.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto all_dx = args.dx.as<T>(), all_dy = args.dy.as<T>();
    const int64_t N = all_dx.n[0], D = all_dx.n[1];
    const T scale = T(1 / (1 - args.p));
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t r = 0; r < N; ++r)
      for (int64_t first = 0; first < D; first += kWord) {
        const int64_t count = std::min(kWord, D - first);
        const uint32_t word = bits(r, first / kWord);
        const T* dy = all_dy.row(r) + first;
        T* dx = all_dx.row(r) + first;
        // dx may be dy: omp simd says that no element depends on another.
        if (add) {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) dx[i] += word >> i & 1 ? dy[i] * scale : T(0);
        } else {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) dx[i] = word >> i & 1 ? dy[i] * scale : T(0);
        }
      }
  });
}

}  // namespace unroll::cpu
