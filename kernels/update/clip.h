// The gradient's norm, and what it makes of this update: a factor for each clip group, the numbers
// of Adam's bias correction and of ASGD's mean.
//
//   norm2_G  = sum of g^2 over the pieces of group G        norm2 = sum over G of norm2_G
//   factor_G = min(1, clip_G / (norm_G + 1e-6))
//
// Sums are taken in an order that depends on the table only: within a piece, then over pieces, then
// over groups; from a thread's partial sum on in f64. An entry that is not finite makes norm2 not
// finite: `apply` is then 0, `update` changes nothing, and the step is not counted.
//
// Some weights may have their gradients by rows: g is then that of the others, and the norm is the
// one that a g with zeros in all rows not given would have, bit for bit.
//
// The share of the new weights in the mean is that of torch.optim.ASGD with t0 = 0: 1 for the first
// two averaged updates, then 1/2, 1/3, ..: the mean of all iterates but the first
// (Polyak & Juditsky 1992).
#pragma once

#include <vector>

#include "kernels/base/exec.h"
#include "kernels/base/row_gradient.h"
#include "kernels/base/view.h"
#include "kernels/update/pieces.h"
#include "kernels/update/step_scales.h"

namespace unroll {

// The gradient of a weight that is kept by rows.
struct SlabRows {
  RowGradient g;      // [N,D]
  int64_t begin = 0;  // the weight's first entry in the slab
};
constexpr int kMostSlabRows = 4;

struct Clip {
  View1 scales;                  // [kUpdateScales+G]  f64: UpdateScales, then the factors; out
  View1 counts;                  // [kUpdateCounts]  f64: UpdateCounts; in and out
  View1 g;                       // [m]  f32 or f64
  std::vector<SlabRows> rows{};  // of the weights whose pieces say kInRows, by rising begin; at
                                 // most kMostSlabRows
  View2 pieces;                  // [P,kPieceWords]  u64: SlabPiece, by rising group
  View1 group_first;  // [G+1]  i32: pieces of group G are group_first[G] .. group_first[G+1]-1
  View1 clips;        // [G]  f64: bound of each group; below 0: UpdateInputs::clip
  View1 inputs;       // [kUpdateInputs]  f64: UpdateInputs
  double beta1 = 0, beta2 = 0;  // of Adam
  Scratch scratch;              // clip_scratch_bytes
};
void clip(const Exec& exec, const Clip& args);
size_t clip_scratch_bytes(int64_t pieces);

// The last step of both bodies, by one thread: everything in `scales` but norm2 and the factors.
GPU_HD void finish_scales(UpdateScales& scales, UpdateCounts& counts, const UpdateInputs& inputs,
                          double beta1, double beta2) {
  const double infinity = __builtin_huge_val();
  const bool apply = scales.norm2 < infinity;  // false for NaN, too
  if (apply) {
    counts.updates += 1;
    if (inputs.averaging != 0) counts.averaged += 1;
  }
  const double k = counts.averaged - 1;
  scales.apply = apply ? 1.0 : 0.0;
  scales.lr = inputs.lr;
  scales.mean = inputs.averaging == 0 ? 0.0 : k > 1 ? 1 / k : 1.0;
  scales.correction1 = 1 / (1 - pow(beta1, counts.updates));
  scales.correction2 = 1 / (1 - pow(beta2, counts.updates));
}

namespace cpu {
void clip(const Exec& exec, const Clip& args);
}
namespace cuda {
void clip(const Exec& exec, const Clip& args);
}

}  // namespace unroll
