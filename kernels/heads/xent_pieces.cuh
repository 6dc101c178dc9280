// Softmax of rows of logits that never stand whole: the vocabulary comes by in pieces, once for the
// sums of each row and, in training, once more for the gradients.
#pragma once

#include "kernels/elementwise/row_tiles.cuh"
#include "kernels/heads/row_logits.cuh"

namespace unroll::cuda {

// A piece: z [N,columns] are the logits of words first, first + 1, .. of every row.
struct Piece {
  View<const float, 2> z;  // without bias
  XentTerms<float> terms;
  const float* b = nullptr;  // of the piece, or null
  const int32_t* target = nullptr;
  int64_t first = 0;
  bool begins = false, ends = false;        // the vocabulary
  RowSum<float>* sums = nullptr;            // [N]  of the pieces so far
  RowGradient<float>* gradients = nullptr;  // [N]  written with the last piece; null: evaluation
  float* loss = nullptr;                    // [N]  written with the last piece
  const float* dloss = nullptr;             // [N]
  const float* shift = nullptr;             // [N] or null
};

// A row is worked on by a warp or a block. Nothing is read of a row without a target.
template <int kThreads, int N>
GPU_KERNEL_BOUNDS(RowTeam<kThreads>::kBlock, 4)
void piece_sums_kernel(Piece a) {
  using Team = RowTeam<kThreads>;
  const int64_t n = Team::row();
  if (n >= a.z.n[0]) return;  // a whole warp, or nobody
  const int32_t target = a.target[n];
  const int columns = target < 0 ? 0 : int(a.z.n[1]);
  const float* z = a.z.row(n);
  RowSum<float> mine;
  for (int j = Team::thread() * N; j < columns; j += kThreads * N) {
    float v[N];
    load_logits<true, N>(z, a.b, a.terms, j, columns, v);
    add_logits(mine, v);
    if (a.terms.smoothing > 0) add_total(mine, v, j, columns);
  }
  const float max = Team::max(mine.max);
  const float sum = Team::sum(mine.sum * std::exp(mine.max - RowSum<float>::reference(max)));
  const float total = Team::sum(mine.total);
  if (Team::thread() != 0) return;
  RowSum<float> row;
  if (!a.begins) row = a.sums[n];
  row.add_sum(max, sum);
  row.total += total;
  const int64_t at = target - a.first;
  if (at >= 0 && at < columns) row.target = a.terms.capped(z[at] + (a.b ? a.b[at] : 0.0f));
  a.sums[n] = row;
  if (!a.ends) return;
  a.loss[n] = target < 0 ? 0.0f : row.loss(a.terms);
  if (a.gradients)
    a.gradients[n] =
        RowGradient<float>(row, a.terms, row_weight(a.dloss, a.shift, n, row, a.terms));
}

template <int kThreads, int N>
void launch_piece_sums(const Exec& exec, const Piece& piece) {
  gpu::launch(piece_sums_kernel<kThreads, N>, row_launch<kThreads>(piece.z.n[0]), exec.stream,
              piece);
}
// wide: rows of z, and b, start on 16 bytes.
inline void piece_sums(const Exec& exec, const Piece& piece, bool wide) {
  if (piece.z.n[1] <= 1024)
    return wide ? launch_piece_sums<gpu::kWarp, 4>(exec, piece)
                : launch_piece_sums<gpu::kWarp, 1>(exec, piece);
  wide ? launch_piece_sums<256, 4>(exec, piece) : launch_piece_sums<256, 1>(exec, piece);
}

// dz of a piece; dz may be the memory of the logits.
template <int N, class T>
GPU_KERNEL_BOUNDS(kTileThreads, 1)
void piece_gradient_kernel(View<T, 2> dz, Piece a) {
  for_each_tile<N>(dz.n[0], dz.n[1], [&](int64_t n, int64_t j, auto width) {
    constexpr int W = decltype(width)::value;
    const int64_t target = a.target[n];
    float v[W] = {};
    if (target >= 0) {
      const RowGradient<float> row = a.gradients[n];
      load_logits<true, W>(a.z.row(n), a.b, a.terms, int(j), int(dz.n[1]), v);
#pragma unroll
      for (int k = 0; k < W; ++k) {
        const float slope = a.terms.slope(v[k]);
        v[k] = slope * (a.first + j + k == target
                            ? row.target
                            : row.scale * std::exp(v[k] - row.max) - row.uniform);
      }
    }
    store_from_float<W>(dz.row(n) + j, v);
  });
}

}  // namespace unroll::cuda
