// CUDA body of dropout: a thread draws the four words of one Philox block and applies them.
#include "kernels/base/philox.h"
#include "kernels/elementwise/dropout.h"
#include "kernels/elementwise/row_tiles.cuh"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

// What one launch works on. The mask covers `mask_rows` rows of D from its element `first` on; a
// locked mask is used again for every t, with rows t * mask_rows on.
template <class T>
struct Map {
  View<T, 3> y;
  View<const T, 3> x;
  const uint64_t* counter;
  int64_t mask_rows, blocks_per_mask;  // thread blocks
  int64_t first;
  uint32_t op, threshold;
  float scale;
  bool add;
};

// N = 4: rows are aligned and D is a multiple of 4, so the four elements of a Philox block lie side
// by side. N = 1: they may lie in two or more rows, each found by a division.
template <class T, int N>
GPU_KERNEL_BOUNDS(kThreads, 1)
void dropout_kernel(Map<T> map) {
  const int64_t D = map.x.n[2], size = map.mask_rows * D;
  // Words of the first Philox block that belong to what lies before.
  const int64_t before = map.first % 4;
  const int64_t use = int64_t(blockIdx.x) / map.blocks_per_mask;
  const int64_t block = int64_t(blockIdx.x) % map.blocks_per_mask * kThreads + threadIdx.x;
  if (block * 4 - before >= size) return;
  const Philox4 words =
      philox_block(map.counter[0], map.counter[1], map.op, uint64_t(map.first / 4 + block));
#pragma unroll
  for (int first = 0; first < 4; first += N) {
    const int64_t e = block * 4 - before + first;
    if (e >= 0 && e < size) {
      const int64_t row = use * map.mask_rows + e / D, column = e % D;
      T* to = map.y.row(row) + column;
      float v[N], sum[N] = {};
      load_as_float<N>(map.x.row(row) + column, v);
      if (map.add) load_as_float<N>(to, sum);
#pragma unroll
      for (int k = 0; k < N; ++k)
        v[k] = sum[k] + (words.v[first + k] >= map.threshold ? v[k] * map.scale : 0.0f);
      store_from_float<N>(to, v);
    }
  }
}

}  // namespace

void dropout(const Exec& exec, const Dropout& args) {
  if (args.x.size() == 0) return;
  with_act("dropout", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t uses = args.locked ? args.x.n[0] : 1;
    Map<T> map;
    map.y = args.y.as<T>();
    map.x = args.x.as<const T>();
    map.counter = static_cast<const uint64_t*>(args.key.counter.data);
    map.mask_rows = args.x.rows() / uses;
    map.first = args.locked ? 0 : args.first_step * args.x.n[1] * args.x.n[2];
    const int64_t words = map.first % 4 + map.mask_rows * args.x.n[2];
    map.blocks_per_mask = ((words + 3) / 4 + kThreads - 1) / kThreads;
    map.op = args.key.op;
    map.threshold = dropout_threshold(args.p);
    map.scale = float(1 / (1 - args.p));
    map.add = args.to_y == Accumulate::add;
    gpu::Launch shape;
    shape.grid.x = unsigned(uses * map.blocks_per_mask);
    shape.block.x = kThreads;
    if (args.x.n[2] % 4 == 0 && rows_aligned(args.x) && rows_aligned(args.y))
      gpu::launch(dropout_kernel<T, 4>, shape, exec.stream, map);
    else
      gpu::launch(dropout_kernel<T, 1>, shape, exec.stream, map);
  });
}

}  // namespace unroll::cuda
