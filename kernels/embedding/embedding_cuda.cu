// CUDA bodies of the embedding ops.
#include <algorithm>

#include "kernels/base/device_algorithms.h"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/embedding/embedding.h"

namespace unroll::cuda {
namespace {

template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void gather_kernel(View<T, 2> y, View<const T, 2> E, const int32_t* ids) {
  for_each_tile<N>(y.n[0], y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    const int32_t id = ids[row];
    float v[W] = {};
    if (id >= 0) load_as_float<W>(E.row(id) + column, v);
    store_from_float<W>(y.row(row) + column, v);
  });
}

template <int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void clear_kernel(View<float, 2> y) {
  for_each_tile<N>(y.n[0], y.n[1], [&](int64_t row, int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    const float zero[W] = {};
    store_from_float<W>(y.row(row) + column, zero);
  });
}

constexpr int kKeyThreads = 256;

// Padding gets key V, so that it is sorted behind every word.
GPU_KERNEL_BOUNDS(kKeyThreads, 1)
void sort_keys_kernel(uint32_t* keys, uint32_t* positions, const int32_t* ids, int N, int V) {
  const int n = int(blockIdx.x) * kKeyThreads + int(threadIdx.x);
  if (n >= N) return;
  keys[n] = ids[n] < 0 ? uint32_t(V) : uint32_t(ids[n]);
  positions[n] = uint32_t(n);
}

// The terms of the gradient, sorted by word: entry i is row positions[i] of dy, for word keys[i].
template <class T>
struct Terms {
  View<float, 2> dE;
  View<const T, 2> dy;
  const uint32_t* keys;
  const uint32_t* positions;
  int N, V;
  bool add;
};

// A word's terms are a run of equal keys. Runs of up to kShortRun terms are a warp's work, longer
// ones a block's, so that the most frequent words do not hold up the rest.
constexpr int kShortRun = 32;
constexpr int kStrip = 4;  // columns of a lane
// Warps that share a long run: the most frequent word of a text, one token in sixteen, has about a
// thousand terms in the largest chunks, of which each warp then adds 64.
constexpr int kLongWarps = 16;

// Sum of terms first .. last-1 at columns column .. column+W-1, in order, four loads under way.
template <int W, class T>
GPU_DEVICE void sum_terms(const Terms<T>& terms, int first, int last, int64_t column,
                          float (&sum)[W]) {
#pragma unroll
  for (int k = 0; k < W; ++k) sum[k] = 0;
#pragma unroll 4
  for (int i = first; i < last; ++i) {
    float v[W];
    load_as_float<W>(terms.dy.row(terms.positions[i]) + column, v);
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k] += v[k];
  }
}

template <int W, class T>
GPU_DEVICE void write_sum(const Terms<T>& terms, uint32_t word, int64_t column, float (&sum)[W]) {
  float* to = terms.dE.row(word) + column;
  if (terms.add) {
    float old[W];
    load_as_float<W>(to, old);
#pragma unroll
    for (int k = 0; k < W; ++k) sum[k] = old[k] + sum[k];
  }
  store_from_float<W>(to, sum);
}

// f(column, Width<W>) for the strip of columns of this lane in column tile blockIdx.y.
template <int N, class F>
GPU_DEVICE void on_lane_columns(int64_t D, F f) {
  const int lane = int(threadIdx.x) % gpu::kWarp;
  const int64_t column = (int64_t(blockIdx.y) * gpu::kWarp + lane) * N;
  if (column + N <= D) {
    f(column, Width<N>{});
  } else if constexpr (N > 1) {
    for (int64_t j = column; j < D; ++j) f(j, Width<1>{});
  }
}

// Warp i takes the run that begins at term i, if one does and it is short.
template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void short_runs_kernel(Terms<T> terms) {
  const int lane = int(threadIdx.x) % gpu::kWarp;
  const int first = int(blockIdx.x) * kTileRows + int(threadIdx.x) / gpu::kWarp;
  if (first >= terms.N) return;
  const uint32_t word = terms.keys[first];
  const bool begins = first == 0 || terms.keys[first - 1] != word;
  const int probe = first + 1 + lane;
  const bool same = probe < terms.N && terms.keys[probe] == word;
  const uint32_t others = ~gpu::ballot(gpu::kFullMask, same);
  if (!begins || word == uint32_t(terms.V) || others == 0) return;
  int length = 1;
  while (!(others >> (length - 1) & 1u)) ++length;
  on_lane_columns<N>(terms.dE.n[1], [&](int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float sum[W];
    sum_terms<W>(terms, first, first + length, column, sum);
    write_sum<W>(terms, word, column, sum);
  });
}

// Block i takes the long run that begins among terms i kShortRun .. (i+1) kShortRun - 1: there is
// at most one. Each warp adds an equal part of the run; the parts are then added in order.
template <class T, int N>
GPU_KERNEL_BOUNDS(kLongWarps* gpu::kWarp, 1)
void long_runs_kernel(Terms<T> terms) {
  GPU_SHARED(part, float[kLongWarps][gpu::kWarp * kStrip]);
  const int lane = int(threadIdx.x) % gpu::kWarp, warp = int(threadIdx.x) / gpu::kWarp;
  const int candidate = int(blockIdx.x) * kShortRun + lane;
  bool is_long = false;
  if (candidate + kShortRun < terms.N) {
    const uint32_t word = terms.keys[candidate];
    is_long = word != uint32_t(terms.V) && terms.keys[candidate + kShortRun] == word &&
              (candidate == 0 || terms.keys[candidate - 1] != word);
  }
  const uint32_t found = gpu::ballot(gpu::kFullMask, is_long);
  if (found == 0) return;  // the same for all warps
  int offset = 0;
  while (!(found >> offset & 1u)) ++offset;
  const int first = int(blockIdx.x) * kShortRun + offset;
  const uint32_t word = terms.keys[first];
  int last = first + kShortRun + 1, end = terms.N;  // the run's end lies in [last, end]
  while (last < end) {
    const int middle = last + (end - last) / 2;
    if (terms.keys[middle] == word)
      last = middle + 1;
    else
      end = middle;
  }
  const int each = (last - first + kLongWarps - 1) / kLongWarps;
  const int from = first + warp * each, to = from + each < last ? from + each : last;
  on_lane_columns<N>(terms.dE.n[1], [&](int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float sum[W];
    sum_terms<W>(terms, from, to, column, sum);
    float* mine = &part[warp][column % (gpu::kWarp * N)];
#pragma unroll
    for (int k = 0; k < W; ++k) mine[k] = sum[k];
  });
  gpu::sync_threads();
  if (warp == 0)
    on_lane_columns<N>(terms.dE.n[1], [&](int64_t column, auto width) {
      constexpr int W = decltype(width)::value;
      float sum[W] = {};
      for (int w = 0; w < kLongWarps; ++w)
#pragma unroll
        for (int k = 0; k < W; ++k) sum[k] += part[w][column % (gpu::kWarp * N) + k];
      write_sum<W>(terms, word, column, sum);
    });
}

// What the backward pass keeps in its scratch.
struct Layout {
  size_t keys, positions, sorted_keys, sorted_positions, sort, bytes;  // offsets, and the whole
};
Layout layout_of(int N) {
  const auto align = [](size_t bytes) { return (bytes + 255) / 256 * 256; };
  const size_t array = align(size_t(N) * sizeof(uint32_t));
  return {0, array, 2 * array, 3 * array, 4 * array, 4 * array + sort_pairs_scratch_bytes(N)};
}

int bits_of(int V) {
  int bits = 1;
  while (bits < 31 && (1 << bits) <= V) ++bits;
  return bits;
}

}  // namespace

void embedding_forward(const Exec& exec, const EmbeddingForward& args) {
  if (args.y.size() == 0) return;
  with_act("embedding_forward", args.E.dtype, [&](auto zero) {
    using T = decltype(zero);
    with_width(
        [&](auto width) {
          constexpr int N = decltype(width)::value;
          gpu::launch(gather_kernel<T, N>, row_tiles(args.y.n[0], args.y.n[1], N), exec.stream,
                      args.y.as<T>(), args.E.as<const T>(),
                      static_cast<const int32_t*>(args.ids.data));
        },
        args.y, args.E);
  });
}

void embedding_backward(const Exec& exec, const EmbeddingBackward& args) {
  const int N = int(args.ids.n[0]), V = int(args.dE.n[0]);
  const int64_t D = args.dE.n[1];
  if (args.dE.size() == 0) return;
  const bool add = args.to_dE == Accumulate::add;
  const auto dE = args.dE.as<float>();
  if (!add)
    with_width(
        [&](auto width) {
          constexpr int W = decltype(width)::value;
          gpu::launch(clear_kernel<W>, row_tiles(V, D, W), exec.stream, dE);
        },
        args.dE);
  if (N == 0) return;

  const Layout at = layout_of(N);
  char* scratch = static_cast<char*>(args.scratch.data);
  const auto array = [&](size_t offset) { return reinterpret_cast<uint32_t*>(scratch + offset); };
  gpu::Launch keys;
  keys.grid.x = unsigned((N + kKeyThreads - 1) / kKeyThreads);
  keys.block.x = kKeyThreads;
  gpu::launch(sort_keys_kernel, keys, exec.stream, array(at.keys), array(at.positions),
              static_cast<const int32_t*>(args.ids.data), N, V);
  cuda::sort_pairs(exec, {.keys_out = view_of(array(at.sorted_keys), N),
                          .values_out = view_of(array(at.sorted_positions), N),
                          .keys_in = view_of(array(at.keys), N),
                          .values_in = view_of(array(at.positions), N),
                          .key_bits = bits_of(V),
                          .scratch = {scratch + at.sort, args.scratch.bytes - at.sort}});

  with_act("embedding_backward", args.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Terms<T> terms{
        dE, args.dy.as<const T>(), array(at.sorted_keys), array(at.sorted_positions), N, V, add};
    const bool wide = rows_aligned(args.dE) && rows_aligned(args.dy);
    const int64_t columns = gpu::kWarp * (wide ? kStrip : 1);
    gpu::Launch shape;
    shape.block.x = kTileThreads;
    shape.grid.y = unsigned((D + columns - 1) / columns);
    shape.grid.x = unsigned((N + kTileRows - 1) / kTileRows);
    gpu::launch(wide ? short_runs_kernel<T, kStrip> : short_runs_kernel<T, 1>, shape, exec.stream,
                terms);
    if (N <= kShortRun) return;
    shape.grid.x = unsigned((N + kShortRun - 1) / kShortRun);
    shape.block.x = kLongWarps * gpu::kWarp;
    gpu::launch(wide ? long_runs_kernel<T, kStrip> : long_runs_kernel<T, 1>, shape, exec.stream,
                terms);
  });
}

size_t embedding_scratch_bytes(int N, int) { return layout_of(N).bytes; }

}  // namespace unroll::cuda
