// CPU body of dropout: words are drawn for a strip of elements at a time, in vector code.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/base/philox_strip.h"
#include "kernels/elementwise/dropout.h"

namespace unroll::cpu {
namespace {

template <class T>
void drop(const Exec& exec, const Dropout& args) {
  const auto x = args.x.as<T>().data, y = args.y.as<T>().data;
  const int64_t B = args.x.n[1], D = args.x.n[2];
  const uint64_t* counter = args.key.counter.as<uint64_t>().data;
  const uint64_t seed = counter[0], step = counter[1];
  const uint32_t threshold = dropout_threshold(args.p);
  const T scale = T(1 / (1 - args.p));
  const bool add = args.to_y == Accumulate::add;

  // The mask covers `size` elements in rows of D, and is used `repeats` times over. Strips begin
  // with a Philox block, the first one `before` elements early.
  const int64_t repeats = args.locked ? args.x.n[0] : 1;
  const int64_t mask_rows = args.locked ? B : args.x.n[0] * B;
  const int64_t size = mask_rows * D;
  const int64_t skipped = args.locked ? 0 : args.first_step * B * D, before = skipped % 4;
#pragma omp parallel for num_threads(exec.threads)
  for (int64_t first = -before; first < size; first += kStrip) {
    alignas(64) uint32_t words[kStrip];
    const int64_t last = std::min(first + kStrip, size);
    draw_strip(seed, step, args.key.op, uint64_t((skipped + first) / 4), last - first, words);
    for (int64_t e = std::max<int64_t>(first, 0); e < last;) {
      const int64_t row = e / D, column = e % D, count = std::min(D - column, last - e);
      const uint32_t* word = words + (e - first);
      for (int64_t t = 0; t < repeats; ++t) {
        const T* from = x + (t * mask_rows + row) * args.x.ld + column;
        T* to = y + (t * mask_rows + row) * args.y.ld + column;
        // y may be x: omp simd says that no element depends on another.
        if (add) {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i)
            to[i] += word[i] >= threshold ? from[i] * scale : T(0);
        } else {
#pragma omp simd
          for (int64_t i = 0; i < count; ++i) to[i] = word[i] >= threshold ? from[i] * scale : T(0);
        }
      }
      e += count;
    }
  }
}

}  // namespace

void dropout(const Exec& exec, const Dropout& args) {
  with_real("dropout", args.x.dtype, [&](auto zero) { drop<decltype(zero)>(exec, args); });
}

}  // namespace unroll::cpu
