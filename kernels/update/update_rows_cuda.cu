// CUDA body of update_rows: a warp to a row.
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/update/rules.h"
#include "kernels/update/update_rows.h"

namespace unroll::cuda {
namespace {

struct TouchedRows {
  View<float, 2> theta, a;
  View<bf16, 2> shadow;
  View<const float, 2> g;
  const uint32_t* words;
};

template <class R, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void update_rows_kernel(TouchedRows rows, const UpdateScales* scales, UpdateConstants constants,
                        int group) {
  if (scales->apply == 0) return;
  const RuleNumbers<float> numbers(*scales, constants);
  const double* factors = reinterpret_cast<const double*>(scales) + kUpdateScales;
  const float factor = float(factors[group]);
  for_each_tile<N>(rows.g.n[0], rows.g.n[1], [&](int64_t i, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    if (!has_row(rows.words, i, rows.theta.n[0])) return;
    const int64_t word = rows.words[i];
    float theta[W], g[W], a[W] = {};
    load_as_float<W>(rows.theta.row(word) + column, theta);
    load_as_float<W>(rows.g.row(i) + column, g);
    if constexpr (R::kSlots > 0) load_as_float<W>(rows.a.row(word) + column, a);
    float unused = 0;
#pragma unroll
    for (int k = 0; k < W; ++k) R::step(numbers, theta[k], factor * g[k], a[k], unused);
    store_from_float<W>(rows.theta.row(word) + column, theta);
    if constexpr (R::kSlots > 0) store_from_float<W>(rows.a.row(word) + column, a);
    if (rows.shadow) store_from_float<W>(rows.shadow.row(word) + column, theta);
  });
}

}  // namespace

void update_rows(const Exec& exec, const UpdateRows& args) {
  require_f32("update_rows", args.theta.dtype);
  if (args.g.rows.size() == 0) return;
  const TouchedRows rows{args.theta.as<float>(), args.a.as<float>(), args.shadow.as<bf16>(),
                         args.g.rows.as<const float>(),
                         static_cast<const uint32_t*>(args.g.words.data)};
  with_row_rule(args.rule, [&](auto rule) {
    with_width(
        [&](auto width) {
          constexpr int W = decltype(width)::value;
          gpu::launch(update_rows_kernel<decltype(rule), W>,
                      row_tiles(args.g.rows.n[0], args.g.rows.n[1], W), exec.stream, rows,
                      static_cast<const UpdateScales*>(args.scales.data), args.constants,
                      int(args.group));
        },
        args.theta, args.a, args.shadow, args.g.rows);
  });
}

}  // namespace unroll::cuda
