// CPU body of clip.
#include "kernels/base/cpu_dtype.h"
#include "kernels/update/clip.h"

namespace unroll::cpu {
namespace {

// Sum of squares in 32 interleaved partial sums: vector code without reordering additions at will.
// Each takes 64 terms before it goes into an f64.
template <class T>
double sum_of_squares(const T* g, int64_t n) {
  constexpr int64_t kLanes = 32, kTerms = 64 * kLanes;
  double total = 0;
  for (int64_t first = 0; first < n; first += kTerms) {
    const int64_t end = first + kTerms < n ? first + kTerms : n;
    T partial[kLanes] = {};
    int64_t i = first;
    for (; i + kLanes <= end; i += kLanes)
      for (int64_t k = 0; k < kLanes; ++k) partial[k] += g[i + k] * g[i + k];
    for (int64_t k = 0; i + k < end; ++k) partial[k] += g[i + k] * g[i + k];
    for (T p : partial) total += p;
  }
  return total;
}

}  // namespace

void clip(const Exec& exec, const Clip& args) {
  const int64_t P = args.pieces.n[0], G = args.clips.n[0];
  const auto* pieces = static_cast<const SlabPiece*>(args.pieces.data);
  double* piece_norm2 = static_cast<double*>(args.scratch.data);
  with_real("clip", args.g.dtype, [&](auto zero) {
    const auto* g = args.g.as<decltype(zero)>().data;
#pragma omp parallel for num_threads(exec.threads)
    for (int64_t p = 0; p < P; ++p)
      piece_norm2[p] = sum_of_squares(g + pieces[p].offset, pieces[p].count);
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
