// CUDA bodies of the softmax over classes: a block per row for logits, loss and dx; a warp per word
// for dW and db.
#include <algorithm>
#include <cmath>

#include "kernels/base/cuda_dtype.cuh"
#include "kernels/base/reduce.cuh"
#include "kernels/heads/class_xent.h"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / gpu::kWarp;
constexpr float kLowest = -__builtin_huge_valf();

template <class T>
struct Classes {
  View<const T, 2> x, W;
  const float* b;  // or null
  const int32_t *target, *order, *group, *start, *bounds;
  int64_t C;
  View<float, 2> z;     // [turn's rows, largest]: logits, then their gradients
  int64_t first, last;  // places of this turn in `order`
};

template <class T>
GPU_DEVICE float dot(const T* a, const T* b, int64_t D) {
  float sum = 0;
  for (int64_t d = int64_t(threadIdx.x) % gpu::kWarp; d < D; d += gpu::kWarp)
    sum += float(a[d]) * float(b[d]);
  return warp_sum(sum);
}

// A block takes one row.
template <class T, bool kTrain>
GPU_KERNEL_BOUNDS(kThreads, 2)
void rows_kernel(Classes<T> a, float* loss, View<T, 2> dx, const float* dloss) {
  const int64_t place = a.first + blockIdx.x;
  if (place >= a.start[a.C]) return;  // the whole block: rows without a target come last
  const int64_t n = a.order[place], c = a.group[n], D = a.x.n[1];
  const int64_t word = a.bounds[c], words = a.bounds[c + 1] - word;
  const int warp = int(threadIdx.x) / gpu::kWarp, lane = int(threadIdx.x) % gpu::kWarp;
  float* z = a.z.row(int64_t(blockIdx.x));
  for (int64_t w = warp; w < words; w += kWarps) {
    const float score = dot(a.W.row(word + w), a.x.row(n), D);
    if (lane == 0) z[w] = score + (a.b ? a.b[word + w] : 0.0f);
  }
  gpu::sync_threads();
  float top = kLowest;
  for (int64_t w = threadIdx.x; w < words; w += kThreads) top = z[w] > top ? z[w] : top;
  top = block_max(top);
  const float reference = top == kLowest ? 0.0f : top;
  float sum = 0;
  for (int64_t w = threadIdx.x; w < words; w += kThreads) sum += std::exp(z[w] - reference);
  sum = block_sum(sum);
  const int64_t truth = a.target[n] - word;
  const float own = std::log(sum) + (reference - z[truth]);
  if (threadIdx.x == 0) loss[n] += own;
  if constexpr (kTrain) {
    gpu::sync_threads();  // all have read z[truth]
    const float weight = dloss[n], scale = weight / sum;
    for (int64_t w = threadIdx.x; w < words; w += kThreads)
      z[w] = w == truth ? weight * std::expm1(-own) : std::exp(z[w] - reference) * scale;
    gpu::sync_threads();
    for (int64_t d = threadIdx.x; d < D; d += kThreads) {
      float total = float(dx(n, d));
      for (int64_t w = 0; w < words; ++w) total += z[w] * float(a.W(word + w, d));
      dx(n, d) = T(total);
    }
  }
}

constexpr int kTileColumns = 4;  // of a lane

// A warp takes a tile of columns of one word: the rows of its class that this turn has, in their
// order. Classes of few words have many rows.
template <class T>
GPU_KERNEL_BOUNDS(kThreads, 2)
void words_kernel(Classes<T> a, View<float, 2> dW, float* db, bool add_W, bool add_b) {
  const int lane = int(threadIdx.x) % gpu::kWarp;
  const int64_t word = int64_t(blockIdx.x) * kWarps + int64_t(threadIdx.x) / gpu::kWarp;
  if (word >= dW.n[0]) return;
  int64_t c = 0, high = a.C;  // bounds[c] <= word < bounds[high]
  while (high - c > 1) {
    const int64_t middle = c + (high - c) / 2;
    (a.bounds[middle] <= word ? c : high) = middle;
  }
  const int64_t from = a.start[c] > a.first ? a.start[c] : a.first;
  const int64_t to = a.start[c + 1] < a.last ? a.start[c + 1] : a.last;
  const int64_t column = word - a.bounds[c];
  const int64_t D = dW.n[1], d0 = int64_t(blockIdx.y) * kTileColumns * gpu::kWarp + lane;
  float sums[kTileColumns];
#pragma unroll
  for (int k = 0; k < kTileColumns; ++k) {
    const int64_t d = d0 + k * gpu::kWarp;
    sums[k] = add_W && d < D ? dW(word, d) : 0.0f;
  }
  for (int64_t place = from; place < to; ++place) {
    const float z = a.z(place - a.first, column);
    const int64_t row = a.order[place];
#pragma unroll
    for (int k = 0; k < kTileColumns; ++k) {
      const int64_t d = d0 + k * gpu::kWarp;
      if (d < D) sums[k] += z * float(a.x(row, d));
    }
  }
#pragma unroll
  for (int k = 0; k < kTileColumns; ++k) {
    const int64_t d = d0 + k * gpu::kWarp;
    if (d < D) dW(word, d) = sums[k];
  }
  if (!db || lane != 0 || blockIdx.y != 0) return;
  float sum = add_b ? db[word] : 0.0f;
  for (int64_t place = from; place < to; ++place) sum += a.z(place - a.first, column);
  db[word] = sum;
}

// Block (c, n): class c of row n.
GPU_KERNEL_BOUNDS(kThreads, 2)
void log_softmax_kernel(View<float, 2> log_p, View<const float, 2> log_class,
                        const int32_t* bounds) {
  const int64_t c = blockIdx.x, n = blockIdx.y;
  float* z = log_p.row(n) + bounds[c];
  const int64_t words = bounds[c + 1] - bounds[c];
  float top = kLowest;
  for (int64_t w = threadIdx.x; w < words; w += kThreads) top = z[w] > top ? z[w] : top;
  top = block_max(top);
  if (top == kLowest) top = 0;
  float sum = 0;
  for (int64_t w = threadIdx.x; w < words; w += kThreads) sum += std::exp(z[w] - top);
  const float shift = log_class(n, c) - top - std::log(block_sum(sum));
  for (int64_t w = threadIdx.x; w < words; w += kThreads) z[w] += shift;
}

gpu::Launch blocks(int64_t x, int64_t y = 1) {
  gpu::Launch shape;
  shape.grid.x = unsigned(x);
  shape.grid.y = unsigned(y);
  shape.block.x = kThreads;
  return shape;
}

const int32_t* ids(const View1& v) { return static_cast<const int32_t*>(v.data); }

template <class T>
void run(const Exec& exec, const ClassXent& args) {
  const int64_t N = args.x.n[0], V = args.W.n[0];
  constexpr int64_t kTile = int64_t(kTileColumns) * gpu::kWarp;
  const int64_t tiles = (args.W.n[1] + kTile - 1) / kTile;
  Classes<T> a{};
  a.x = args.x.as<const T>();
  a.W = args.W.as<const T>();
  a.b = static_cast<const float*>(args.b.data);
  a.target = ids(args.target);
  a.order = ids(args.order);
  a.group = ids(args.group);
  a.start = ids(args.start);
  a.bounds = ids(args.bounds);
  a.C = args.bounds.n[0] - 1;
  const int64_t turn = int64_t(args.scratch.bytes / (size_t(args.largest) * sizeof(float)));
  a.z = view_of(static_cast<float*>(args.scratch.data), turn, args.largest).template as<float>();
  float* loss = static_cast<float*>(args.loss.data);
  const float* dloss = static_cast<const float*>(args.dloss.data);
  float* db = static_cast<float*>(args.db.data);
  bool add_W = args.to_dW == Accumulate::add, add_b = args.to_db == Accumulate::add;
  do {  // at least once, so that no rows still define dW and db
    a.last = a.first + turn < N ? a.first + turn : N;
    if (a.last > a.first) {
      if (args.dx)
        gpu::launch(rows_kernel<T, true>, blocks(a.last - a.first), exec.stream, a, loss,
                    args.dx.as<T>(), dloss);
      else
        gpu::launch(rows_kernel<T, false>, blocks(a.last - a.first), exec.stream, a, loss,
                    args.dx.as<T>(), dloss);
    }
    if (args.dx)
      gpu::launch(words_kernel<T>, blocks((V + kWarps - 1) / kWarps, tiles), exec.stream, a,
                  args.dW.as<float>(), db, add_W, add_b);
    add_W = add_b = true;
    a.first = a.last;
  } while (a.first < N);
}

}  // namespace

void class_xent(const Exec& exec, const ClassXent& args) {
  with_act("class_xent", args.x.dtype, [&](auto zero) { run<decltype(zero)>(exec, args); });
}

size_t class_xent_scratch_bytes(int64_t N, int64_t largest, size_t budget) {
  const size_t row = size_t(largest) * sizeof(float);
  return row * std::clamp<size_t>(budget / row, 1, size_t(std::max<int64_t>(N, 1)));
}

void class_log_softmax(const Exec& exec, const ClassLogSoftmax& args) {
  require_f32("class_log_softmax", args.log_p.dtype);
  // The grid's second extent ends at 65,535.
  for (int64_t first = 0; first < args.log_p.n[0]; first += 65535) {
    const int64_t count = std::min<int64_t>(65535, args.log_p.n[0] - first);
    gpu::launch(log_softmax_kernel, blocks(args.bounds.n[0] - 1, count), exec.stream,
                args.log_p.slice(first, count).as<float>(),
                args.log_class.slice(first, count).as<const float>(), ids(args.bounds));
  }
}

}  // namespace unroll::cuda
