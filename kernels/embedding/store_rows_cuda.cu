// CUDA body of store_rows: a warp to a row.
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/embedding/store_rows.h"

namespace unroll::cuda {
namespace {

template <int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void store_rows_kernel(int32_t* ids, View<float, 2> terms, View<const float, 2> rows,
                       const uint32_t* words, int64_t V) {
  for_each_tile<N>(terms.n[0], terms.n[1], [&](int64_t i, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    const bool has = i < rows.n[0] && has_row(words, i, V);
    if (column == 0) ids[i] = has ? int32_t(words[i]) : -1;
    if (!has) return;
    float v[W];
    load_as_float<W>(rows.row(i) + column, v);
    store_from_float<W>(terms.row(i) + column, v);
  });
}

}  // namespace

void store_rows(const Exec& exec, const StoreRows& args) {
  require_f32("store_rows", args.terms.dtype);
  if (args.terms.size() == 0) return;
  with_width(
      [&](auto width) {
        constexpr int W = decltype(width)::value;
        gpu::launch(store_rows_kernel<W>, row_tiles(args.terms.n[0], args.terms.n[1], W),
                    exec.stream, static_cast<int32_t*>(args.ids.data), args.terms.as<float>(),
                    args.g.rows.as<const float>(), static_cast<const uint32_t*>(args.g.words.data),
                    args.V);
      },
      args.terms, args.g.rows);
}

}  // namespace unroll::cuda
