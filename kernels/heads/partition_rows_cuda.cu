// CUDA bodies of the partition by groups: keys, one stable sort, and the places where keys change.
#include "kernels/base/device_algorithms.h"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/heads/partition_rows.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

gpu::Launch threads_for(int64_t n) {
  gpu::Launch shape;
  shape.grid.x = unsigned((n + kThreads - 1) / kThreads);
  shape.block.x = kThreads;
  return shape;
}
GPU_DEVICE int64_t thread_index() { return int64_t(blockIdx.x) * kThreads + threadIdx.x; }

// Rows without a group get key G, so that they are sorted behind all others.
GPU_KERNEL_BOUNDS(kThreads, 1)
void group_kernel(int32_t* group, uint32_t* keys, uint32_t* rows, View<const int32_t, 1> target,
                  View<const int32_t, 1> bounds) {
  const int64_t n = thread_index(), G = bounds.n[0] - 1;
  if (n >= target.n[0]) return;
  const int32_t word = target(n);
  int64_t low = 0, high = G;  // bounds[low] <= word < bounds[high]
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (bounds(middle) <= word ? low : high) = middle;
  }
  // Where empty groups begin at the same bound, the last one has the word: the search ends there.
  group[n] = word < 0 ? -1 : int32_t(low);
  keys[n] = word < 0 ? uint32_t(G) : uint32_t(low);
  rows[n] = uint32_t(n);
}

// Place n, one beyond the end included, is where all groups begin whose key is above the key before
// it and not above its own.
GPU_KERNEL_BOUNDS(kThreads, 1)
void start_kernel(View<int32_t, 1> start, const uint32_t* keys, int64_t N) {
  const int64_t n = thread_index(), G = start.n[0] - 1;
  if (n > N) return;
  const int64_t before = n == 0 ? -1 : int64_t(keys[n - 1]);
  const int64_t here = n == N ? G : int64_t(keys[n]);
  for (int64_t g = before + 1; g <= here; ++g) start(g) = int32_t(n);
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void take_group_kernel(View<int32_t, 1> rows, int32_t* local, float* weight, const int32_t* order,
                       const int32_t* target, const int32_t* start, const int32_t* bound,
                       const float* dloss) {
  const int64_t c = thread_index();
  if (c >= rows.n[0]) return;
  const bool there = c < start[1] - start[0];
  const int32_t row = there ? order[start[0] + c] : -1;
  rows(c) = row;
  local[c] = there ? target[row] - *bound : -1;
  if (dloss) weight[c] = there ? dloss[row] : 0.0f;
}

GPU_KERNEL_BOUNDS(kThreads, 1)
void shortlist_kernel(View<int32_t, 1> to, const int32_t* target, const int32_t* group,
                      const int32_t* bounds) {
  const int64_t n = thread_index();
  if (n < to.n[0]) to(n) = group[n] <= 0 ? target[n] : bounds[1] + group[n] - 1;
}

template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void add_to_rows_kernel(View<T, 2> y, View<const T, 2> x, const int32_t* rows,
                        const int32_t* start) {
  for_each_tile<N>(x.n[0], x.n[1], [&](int64_t c, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    const int32_t row = rows[c];
    if (row < 0) return;
    float sum[W], term[W];
    load_as_float<W>(y.row(row) + column, sum);
    load_as_float<W>(x.row(c) + column, term);
    const bool lacks = start && c == 0 && start[1] - start[0] > x.n[0];
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k] = lacks ? __builtin_nanf("") : sum[k] + term[k];
    store_from_float<W>(y.row(row) + column, sum);
  });
}

const int32_t* ids(const View1& v) { return static_cast<const int32_t*>(v.data); }

int bits_of(int64_t largest) {
  int bits = 1;
  while (bits < 31 && (int64_t(1) << bits) <= largest) ++bits;
  return bits;
}

}  // namespace

void partition_rows(const Exec& exec, const PartitionRows& args) {
  const int64_t N = args.target.n[0], G = args.bounds.n[0] - 1;
  uint32_t* keys = static_cast<uint32_t*>(args.scratch.data);
  uint32_t* rows = keys + N;
  uint32_t* sorted = rows + N;
  const size_t used = (size_t(N) * 3 * sizeof(uint32_t) + 255) / 256 * 256;
  if (N > 0) {
    gpu::launch(group_kernel, threads_for(N), exec.stream, static_cast<int32_t*>(args.group.data),
                keys, rows, args.target.as<const int32_t>(), args.bounds.as<const int32_t>());
    cuda::sort_pairs(exec, {.keys_out = view_of(sorted, N),
                            .values_out = view_of(static_cast<uint32_t*>(args.order.data), N),
                            .keys_in = view_of(keys, N),
                            .values_in = view_of(rows, N),
                            .key_bits = bits_of(G),
                            .scratch = {static_cast<char*>(args.scratch.data) + used,
                                        args.scratch.bytes - used}});
  }
  gpu::launch(start_kernel, threads_for(N + 1), exec.stream, args.start.as<int32_t>(),
              static_cast<const uint32_t*>(sorted), N);
}

void take_group(const Exec& exec, const TakeGroup& args) {
  if (args.dloss) require_f32("take_group", args.dloss.dtype);
  gpu::launch(take_group_kernel, threads_for(args.rows.n[0]), exec.stream, args.rows.as<int32_t>(),
              static_cast<int32_t*>(args.local.data), static_cast<float*>(args.weight.data),
              ids(args.order), ids(args.target), ids(args.start) + args.group,
              ids(args.bounds) + args.group, static_cast<const float*>(args.dloss.data));
}

void shortlist_targets(const Exec& exec, const ShortlistTargets& args) {
  gpu::launch(shortlist_kernel, threads_for(args.to.n[0]), exec.stream, args.to.as<int32_t>(),
              ids(args.target), ids(args.group), ids(args.bounds));
}

void add_to_rows(const Exec& exec, const AddToRows& args) {
  const int32_t* start = args.start ? ids(args.start) + args.group : nullptr;
  with_act("add_to_rows", args.y.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_width(
        [&](auto width) {
          constexpr int W = decltype(width)::value;
          gpu::launch(add_to_rows_kernel<T, W>, row_tiles(args.x.n[0], args.x.n[1], W), exec.stream,
                      args.y.as<T>(), args.x.as<const T>(), ids(args.rows), start);
        },
        args.y, args.x);
  });
}

}  // namespace unroll::cuda
