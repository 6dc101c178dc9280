// CUDA bodies of the embedding ops.

#include "kernels/base/device_algorithms.h"
#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/embedding/embedding.h"
#include "kernels/embedding/sorted_terms.h"

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

GPU_KERNEL_BOUNDS(kKeyThreads, 1)
void sort_keys_kernel(uint32_t* keys, uint32_t* positions, View<const int32_t, 1> ids,
                      const int32_t* more_ids, int N, uint32_t V) {
  const int n = int(blockIdx.x) * kKeyThreads + int(threadIdx.x);
  if (n >= N) return;
  const int32_t id = n < ids.n[0] ? ids(n) : more_ids[n - ids.n[0]];
  keys[n] = id < 0 ? V : uint32_t(id);
  positions[n] = uint32_t(n);
}

// The terms of the gradient, sorted by word: term i is row order[i] of dy, for word words[i].
template <class T>
struct Terms {
  View<float, 2> to;
  View<const T, 2> dy;
  const uint32_t *words, *order;
  View<float, 2> partial;  // of groups behind a word's first: row i / kTermGroup of the one at i
  int N;
  uint32_t V;
  bool add, by_place;  // rows of `to` stand by word, or by the place of a word's first term
};

static_assert(kTermGroup == gpu::kWarp, "a ballot counts the terms of a group");
constexpr int kStrip = 4;  // columns of a lane

template <class T>
GPU_DEVICE float* row_of(const Terms<T>& terms, int first) {
  return terms.to.row(terms.by_place ? int64_t(first) : int64_t(terms.words[first]));
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

// Warp i takes the group that begins at term i, if one does.
template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void group_sums_kernel(Terms<T> terms) {
  const int lane = int(threadIdx.x) % gpu::kWarp;
  const int i = int(blockIdx.x) * kTileRows + int(threadIdx.x) / gpu::kWarp;
  if (i >= terms.N) return;
  const uint32_t word = terms.words[i];
  if (word >= terms.V) return;
  const bool first = i == 0 || terms.words[i - 1] != word;
  if (!first) {
    // One word a group before: only then may the word's first term be a multiple of a group away.
    if (i < kTermGroup || terms.words[i - kTermGroup] != word) return;
    if ((i - place_of(terms.words, 0, i - kTermGroup, word)) % kTermGroup != 0) return;
  }
  const int probe = i + 1 + lane;
  const uint32_t others =
      ~gpu::ballot(gpu::kFullMask, probe < terms.N && terms.words[probe] == word);
  int length = 1;
  while (length < kTermGroup && !(others >> (length - 1) & 1u)) ++length;
  float* to = first ? row_of(terms, i) : terms.partial.row(i / kTermGroup);
  on_lane_columns<N>(terms.dy.n[1], [&](int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float sum[W] = {};
#pragma unroll 4
    for (int j = i; j < i + length; ++j) {
      float v[W];
      load_as_float<W>(terms.dy.row(terms.order[j]) + column, v);
#pragma unroll
      for (int k = 0; k < W; ++k) sum[k] += v[k];
    }
    if (first && terms.add) {
      float old[W];
      load_as_float<W>(to + column, old);
#pragma unroll
      for (int k = 0; k < W; ++k) sum[k] = old[k] + sum[k];
    }
    store_from_float<W>(to + column, sum);
  });
}

// Warp i takes the word of more than a group that begins among terms i kTermGroup ..
// (i+1) kTermGroup - 1: there is at most one.
template <class T, int N>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void join_groups_kernel(Terms<T> terms) {
  const int lane = int(threadIdx.x) % gpu::kWarp;
  const int window = int(blockIdx.x) * kTileRows + int(threadIdx.x) / gpu::kWarp;
  const int candidate = window * kTermGroup + lane;
  bool is_long = false;
  if (candidate + kTermGroup < terms.N) {
    const uint32_t word = terms.words[candidate];
    is_long = word < terms.V && terms.words[candidate + kTermGroup] == word &&
              (candidate == 0 || terms.words[candidate - 1] != word);
  }
  const uint32_t found = gpu::ballot(gpu::kFullMask, is_long);
  if (found == 0) return;
  int offset = 0;
  while (!(found >> offset & 1u)) ++offset;
  const int first = window * kTermGroup + offset;
  const int end = int(place_of(terms.words, first, terms.N, uint64_t(terms.words[first]) + 1));
  float* to = row_of(terms, first);
  on_lane_columns<N>(terms.dy.n[1], [&](int64_t column, auto width) {
    constexpr int W = decltype(width)::value;
    float sum[W];
    load_as_float<W>(to + column, sum);
#pragma unroll 8
    for (int i = first + kTermGroup; i < end; i += kTermGroup) {
      float v[W];
      load_as_float<W>(terms.partial.row(i / kTermGroup) + column, v);
#pragma unroll
      for (int k = 0; k < W; ++k) sum[k] += v[k];
    }
    store_from_float<W>(to + column, sum);
  });
}

// The gradient of `ids` and `more_ids`, N together, into `to`; `words` [N] get them sorted.
struct Gradient {
  View2 to, dy;
  View1 ids, more_ids;
  int64_t V;
  uint32_t* words;
  bool add, by_place;
};
void add_terms(const Exec& exec, const Gradient& g, const EmbeddingScratch& at, char* scratch) {
  const int N = int(g.dy.n[0]);
  const int64_t D = g.dy.n[1];
  if (N == 0 || D == 0) return;
  const auto array = [&](size_t offset) { return reinterpret_cast<uint32_t*>(scratch + offset); };
  gpu::Launch keys;
  keys.grid.x = unsigned((N + kKeyThreads - 1) / kKeyThreads);
  keys.block.x = kKeyThreads;
  gpu::launch(sort_keys_kernel, keys, exec.stream, array(at.keys), array(at.positions),
              g.ids.as<const int32_t>(), static_cast<const int32_t*>(g.more_ids.data), N,
              uint32_t(g.V));
  cuda::sort_pairs(exec, {.keys_out = view_of(g.words, N),
                          .values_out = view_of(array(at.order), N),
                          .keys_in = view_of(array(at.keys), N),
                          .values_in = view_of(array(at.positions), N),
                          .key_bits = embedding_key_bits(g.V),
                          .scratch = {scratch + at.sort, at.bytes - at.sort}});
  View2 partial = view_of(scratch + at.partial, DType::f32, EmbeddingScratch::partial_rows(N), D);
  partial.ld = EmbeddingScratch::partial_stride(D);

  with_act("embedding_backward", g.dy.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Terms<T> terms{.to = g.to.as<float>(),
                         .dy = g.dy.as<const T>(),
                         .words = g.words,
                         .order = array(at.order),
                         .partial = partial.as<float>(),
                         .N = N,
                         .V = uint32_t(g.V),
                         .add = g.add,
                         .by_place = g.by_place};
    const bool wide = rows_aligned(g.to) && rows_aligned(g.dy);
    const int64_t columns = gpu::kWarp * (wide ? kStrip : 1);
    gpu::Launch shape;
    shape.block.x = kTileThreads;
    shape.grid.y = unsigned((D + columns - 1) / columns);
    shape.grid.x = unsigned((N + kTileRows - 1) / kTileRows);
    gpu::launch(wide ? group_sums_kernel<T, kStrip> : group_sums_kernel<T, 1>, shape, exec.stream,
                terms);
    if (N <= kTermGroup) return;
    shape.grid.x = unsigned((partial.n[0] + kTileRows - 1) / kTileRows);
    gpu::launch(wide ? join_groups_kernel<T, kStrip> : join_groups_kernel<T, 1>, shape, exec.stream,
                terms);
  });
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
  if (args.dE.size() == 0) return;
  const bool add = args.to_dE == Accumulate::add;
  if (!add)
    with_width(
        [&](auto width) {
          constexpr int W = decltype(width)::value;
          gpu::launch(clear_kernel<W>, row_tiles(args.dE.n[0], args.dE.n[1], W), exec.stream,
                      args.dE.as<float>());
        },
        args.dE);
  const EmbeddingScratch at(exec, args.dy.dtype, int(args.dy.n[0]), args.dy.n[1]);
  char* scratch = static_cast<char*>(args.scratch.data);
  add_terms(exec,
            {.to = args.dE,
             .dy = args.dy,
             .ids = args.ids,
             .more_ids = args.more_ids,
             .V = args.dE.n[0],
             .words = reinterpret_cast<uint32_t*>(scratch + at.words),
             .add = add,
             .by_place = false},
            at, scratch);
}

void embedding_rows_backward(const Exec& exec, const EmbeddingRowsBackward& args) {
  const EmbeddingScratch at(exec, args.dy.dtype, int(args.dy.n[0]), args.dy.n[1]);
  add_terms(exec,
            {.to = args.dE.rows,
             .dy = args.dy,
             .ids = args.ids,
             .more_ids = args.more_ids,
             .V = args.V,
             .words = static_cast<uint32_t*>(args.dE.words.data),
             .add = false,
             .by_place = true},
            at, static_cast<char*>(args.scratch.data));
}

}  // namespace unroll::cuda
