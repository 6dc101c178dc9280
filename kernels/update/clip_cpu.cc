// CPU body of clip.
#include <algorithm>

#include "kernels/base/cpu_dtype.h"
#include "kernels/update/clip.h"

namespace unroll::cpu {
namespace {

// Sums of squares in 32 interleaved partial sums: vector code without reordering additions at will.
// Each takes 64 terms before it goes into an f64.
constexpr int64_t kLanes = 32, kTerms = 64 * kLanes;

// Adds the squares of at most kTerms entries.
template <class T>
void add_squares(double& total, const T* g, int64_t n) {
  T partial[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) partial[k] += g[i + k] * g[i + k];
  for (int64_t k = 0; i + k < n; ++k) partial[k] += g[i + k] * g[i + k];
  for (T p : partial) total += p;
}

template <class T>
double sum_of_squares(const T* g, int64_t n) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kTerms)
    add_squares(total, g + first, std::min(kTerms, n - first));
  return total;
}

// The same of a piece whose rows are not all there: the others are zeros.
template <class T>
double sum_of_squares(const std::vector<SlabRows>& all, const SlabPiece& piece) {
  size_t weight = 0;
  while (weight + 1 < all.size() && all[weight + 1].begin <= int64_t(piece.offset)) ++weight;
  const RowGradient& gradient = all[weight].g;
  const auto* words = static_cast<const uint32_t*>(gradient.words.data);
  const auto rows = gradient.rows.as<T>();
  const int64_t N = gradient.words.n[0], D = piece.columns;
  const int64_t offset = int64_t(piece.offset) - all[weight].begin;
  int64_t place = place_of(words, 0, N, uint64_t(offset / D));
  double total = 0;
  for (int64_t first = 0; first < piece.count; first += kTerms) {
    const int64_t last = std::min(first + kTerms, int64_t(piece.count));
    T block[kTerms];
    bool touched = false;
    for (; place < N; ++place) {
      const int64_t row = int64_t(words[place]) * D - offset;  // where it begins in the piece
      if (row >= last) break;
      if (place == 0 || words[place - 1] != words[place]) {
        if (!touched) std::fill_n(block, kTerms, T(0));
        touched = true;
        const int64_t from = std::max(row, first), to = std::min(row + D, last);
        if (from < to) std::copy_n(rows.row(place) + (from - row), to - from, block + from - first);
      }
      if (row + D > last) break;  // it goes on in the next block
    }
    if (touched) add_squares(total, block, last - first);
  }
  return total;
}

}  // namespace

void clip(const Exec& exec, const Clip& args) {
  const int64_t P = args.pieces.n[0], G = args.clips.n[0];
  const auto* pieces = static_cast<const SlabPiece*>(args.pieces.data);
  double* piece_norm2 = static_cast<double*>(args.scratch.data);
  with_real("clip", args.g.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* g = args.g.as<T>().data;
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t p = 0; p < P; ++p) {
      piece_norm2[p] = pieces[p].gradient == kInRows
                           ? sum_of_squares<T>(args.rows, pieces[p])
                           : sum_of_squares(g + pieces[p].gradient, pieces[p].count);
    }
  });
  auto& scales = *static_cast<UpdateScales*>(args.scales.data);
  double* factor = args.scales.as<double>().data + kUpdateScales;
  const auto& inputs = *static_cast<const UpdateInputs*>(args.inputs.data);
  const auto clips = args.clips.as<double>();
  const auto group_first = args.group_first.as<int32_t>();
  scales.norm2 = 0;
  for (int64_t group = 0; group < G; ++group) {
    double norm2 = 0;
    for (int64_t p = group_first(group); p < group_first(group + 1); ++p) norm2 += piece_norm2[p];
    factor[group] = clip_factor(clips(group) < 0 ? inputs.clip : clips(group), norm2);
    scales.norm2 += norm2;
  }
  finish_scales(scales, *static_cast<UpdateCounts*>(args.counts.data), inputs, args.beta1,
                args.beta2);
}

}  // namespace unroll::cpu
