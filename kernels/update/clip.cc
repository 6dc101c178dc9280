// Shape checks and dispatch of clip.
#include "kernels/update/clip.h"

#include "kernels/base/dims.h"
#include "kernels/base/dispatch.h"

namespace unroll {

void clip(const Exec& exec, const Clip& args) {
  if (exec.kind == DeviceKind::none) return;
  const int64_t n = args.g.n[0], P = args.pieces.n[0], G = args.clips.n[0];
  check_shape("clip", "g", args.g, "[m]", {n}, args.g.dtype);
  UNROLL_CHECK(args.rows.size() <= size_t(kMostSlabRows),
               "clip: " + std::to_string(args.rows.size()) +
                   " weights have gradients by rows, and " + std::to_string(kMostSlabRows) +
                   " may; raise kMostSlabRows");
  int64_t begin = -1;
  for (const SlabRows& rows : args.rows) {
    const int64_t N = rows.g.words.n[0], D = rows.g.rows.n[1];
    check_shape("clip", "rows.g.words", rows.g.words, "[N]", {N}, DType::u32);
    check_shape("clip", "rows.g.rows", rows.g.rows, "[N,D]", {N, D}, args.g.dtype);
    UNROLL_CHECK(rows.begin > begin, "clip: rows are not in the order of the slab");
    begin = rows.begin;
  }
  check_shape("clip", "pieces", args.pieces, "[P,kPieceWords]", {P, kPieceWords}, DType::u64);
  check_shape("clip", "clips", args.clips, "[G]", {G}, DType::f64);
  check_shape("clip", "group_first", args.group_first, "[G+1]", {G + 1}, DType::i32);
  check_shape("clip", "scales", args.scales, "[kUpdateScales+G]", {kUpdateScales + G}, DType::f64);
  check_shape("clip", "counts", args.counts, "[kUpdateCounts]", {kUpdateCounts}, DType::f64);
  check_shape("clip", "inputs", args.inputs, "[kUpdateInputs]", {kUpdateInputs}, DType::f64);
  UNROLL_CHECK(G > 0, "clip: there is no clip group");
  const size_t needed = clip_scratch_bytes(P);
  UNROLL_CHECK(args.scratch.bytes >= needed,
               "clip: scratch holds " + std::to_string(args.scratch.bytes) +
                   " bytes, clip_scratch_bytes asks for " + std::to_string(needed));
  dispatch<cpu::clip, cuda::clip>(exec, args);
}

size_t clip_scratch_bytes(int64_t pieces) { return size_t(pieces) * sizeof(double); }

}  // namespace unroll
