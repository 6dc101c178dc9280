// Copies of R and of the first vector in the order in which the fused step reads them.
#include "kernels/recurrent/step_cuda.h"
#include "kernels/recurrent/step_product.cuh"
#include "kernels/recurrent/weight_mask.cuh"

namespace unroll::cuda {
namespace {

constexpr int kThreads = 256;

// Elements in the 16 bytes of one thread.
template <class P>
inline constexpr int kPer = int(16 / sizeof(typename P::Element));

// A thread fills 16 bytes. Order: block, pair, tile of the pair, gate, lane. Backward the gates are
// along K instead. A tile lies in 32 columns of R, and so a row's bits of it in one word.
template <class P>
GPU_KERNEL_BOUNDS(kThreads, 1)
void pack_weights_kernel(typename P::Element* to, View<const typename P::Element, 2> R,
                         MaskedBy mask, int gates, bool backward, bool round, int64_t pairs,
                         int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int64_t H = R.n[1], tiles = backward ? 1 : gates;
  const int lane = int(i % 32);
  const int64_t m = i / 32 % tiles, tile = i / 32 / tiles % (2 * pairs);
  const int64_t block = i / 32 / tiles / (2 * pairs);
  const int64_t word = (backward ? block * kUnitTile : tile * P::kTileK) / 32;
  gpu::Vec<typename P::Element, kPer<P>> v;
#pragma unroll
  for (int e = 0; e < kPer<P>; ++e) {
    const int64_t unit = block * kUnitTile + P::weight_row(lane, e);
    const int64_t k = tile * P::kTileK + P::weight_column(lane, e);
    v[e] = typename P::Element(0.0f);
    if (unit >= H || k >= (backward ? R.n[0] : H)) continue;
    const int64_t row = backward ? k : m * H + unit, column = backward ? unit : k;
    v[e] = R(row, column);
    if (mask) v[e] = mask(v[e], mask.bits(row, word) >> column % 32 & 1u);
    v[e] = operand_of<P>(v[e], round);
  }
  gpu::store_vec(to + i * kPer<P>, v);
}

// Both vectors; the second is zero. Order: group of 8 lanes, pair, thread.
template <class P>
GPU_KERNEL_BOUNDS(kThreads, 1)
void pack_mail_kernel(typename P::Element* first, typename P::Element* second,
                      View<const typename P::Element, 2> h0, bool round, int64_t pairs,
                      int64_t count) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const int lane = int(i % 32);
  const int64_t pair = i / 32 % pairs, b = i / 32 / pairs * 8 + lane / 4;
  gpu::Vec<typename P::Element, kPer<P>> v, zero;
#pragma unroll
  for (int e = 0; e < kPer<P>; ++e) {
    const int64_t k = pair * (2 * P::kTileK) + P::vector_row(lane, e);
    v[e] = zero[e] = typename P::Element(0.0f);
    if (h0.data && b < h0.n[0] && k < h0.n[1]) v[e] = operand_of<P>(h0(b, k), round);
  }
  gpu::store_vec(first + i * kPer<P>, v);
  gpu::store_vec(second + i * kPer<P>, zero);
}

gpu::Launch one_each(int64_t count) {
  gpu::Launch shape;
  shape.grid = dim3(unsigned((count + kThreads - 1) / kThreads));
  shape.block = dim3(kThreads);
  return shape;
}

template <class P>
void pack(const Exec& exec, const StepScratch& to, int gates, const View2& R,
          const WeightMask& mask, const View2& h0, int64_t B, bool backward) {
  using Element = typename P::Element;
  const bool round = exec.matmul == MatmulMode::tf32;
  const int64_t H = R.n[1], pairs = pairs_of<P>(backward ? R.n[0] : H);
  const int64_t blocks = (H + kUnitTile - 1) / kUnitTile;
  const int64_t weights = blocks * pairs * 2 * (backward ? 1 : gates) * 32;
  gpu::launch(pack_weights_kernel<P>, one_each(weights), exec.stream,
              static_cast<Element*>(to.weights), R.as<const Element>(), MaskedBy(mask), gates,
              backward, round, pairs, weights);
  const int64_t mail = (B + kLanes - 1) / kLanes * kLaneTiles * pairs * 32;
  gpu::launch(pack_mail_kernel<P>, one_each(mail), exec.stream, static_cast<Element*>(to.mail[0]),
              static_cast<Element*>(to.mail[1]), h0.as<const Element>(), round, pairs, mail);
}

}  // namespace

void step_pack(const Exec& exec, const StepScratch& to, Cell cell, const View2& R,
               const WeightMask& mask, const View2& h0, int64_t B, bool backward) {
  const int gates = info_of(cell).gates;
  if (R.dtype == DType::bf16)
    pack<Bf16Product>(exec, to, gates, R, mask, h0, B, backward);
  else
    pack<Tf32Product>(exec, to, gates, R, mask, h0, B, backward);
}

}  // namespace unroll::cuda
