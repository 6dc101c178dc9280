// What the passes of the persistent schedule know of the whole: who has which units and lanes, and
// how numbers go from block to block.
//
// The numbers of step i lie at entry i: k_blocks x B x 16 words, each two bf16 or one f32, in a
// buffer that the pass fills with the sentinel before its first step. A word is written once and
// read until it is not the sentinel: data and flag are the same 32 bits, so no order between
// different words is needed, relaxed accesses suffice, and a 16-byte load that sees some of its
// words early is as good as one that does not. What would make the sentinel (two bf16 NaN, or one
// f32 NaN, with all bits set) is sent as other NaN. No entry is used twice, so nothing has to be
// taken back, which a ring of entries could do only with a fence in every step. The carried-in state
// of step 0 comes from the caller's array and is not waited for.
#pragma once

#include "kernels/base/dtype.h"
#include "kernels/base/gpu.h"
#include "kernels/base/reduce.cuh"
#include "kernels/base/view.h"
#include "kernels/cells/cell_types.h"
#include "kernels/recurrent/loop_noise.h"
#include "kernels/recurrent/persistent_cuda.h"
#include "kernels/recurrent/step_product.cuh"

namespace unroll::cuda {

using namespace persistent;

// The other is NaN as one f32 and as two bf16.
inline constexpr uint32_t kSentinel = 0xffffffffu, kOtherNan = 0x7fff7fffu;

using Words = gpu::Vec<uint32_t, 4>;  // eight bf16 or four f32

// Columns of a block of K, and those of one thread's 16 bytes. P: Bf16Product, Tf32Product or
// F32Product, which say what a number is and how two tiles are multiplied.
template <class P>
inline constexpr int kBlockK = block_columns(DTypeOf<typename P::Element>::value);
template <class P>
inline constexpr int kWide16 = int(16 / sizeof(typename P::Element));

// What every block is told of the pass.
struct PersistentLayout {
  int T, B, H, Hp, K, k_blocks, unit_groups, shares, lanes;
  int first_step;      // that step 0 is in the chunk, which lengths and noise are of
  int cluster, slice;  // blocks that share K, and the blocks of K that each of them takes in
  int k_warps;         // warps that multiply different blocks of K for the same units, 2^k_shift
  int k_shift;
  int held, held_blocks;  // blocks of K in registers, of a warp and of all k_warps
  int partial_floats;     // all partial sums
  int warp_blocks;        // blocks of K of the warp that stages most
  int piece;              // of them, those that are staged together
  int staged_blocks;      // by all warps
  int blocks;             // of the pass
  bool reverse;
  uint32_t zero;       // 0, which a compiler does not know (Product::multiply_held)
  uint32_t patience;   // looks before a wait is given up; 0: none is
  uint32_t* exchange;  // [T-1,k_blocks,B,kBlockWords]
  PersistentReport* report;
  const int32_t* lengths;

  // This block's number among those of the pass.
  GPU_DEVICE int block() const { return int(blockIdx.x) % blocks; }
  // Step i of the pass is step t of the sequence.
  GPU_DEVICE int forward_t(int i) const { return reverse ? T - 1 - i : i; }
  GPU_DEVICE int backward_t(int i) const { return reverse ? i : T - 1 - i; }
  GPU_DEVICE uint32_t* entry(int i) const {
    return exchange + int64_t(i) * k_blocks * B * kBlockWords;
  }
  GPU_DEVICE bool valid(int t, int b) const { return !lengths || first_step + t < lengths[b]; }
};

// The passes of one launch, one or two that know nothing of each other and are divided alike: the
// first blocks do the first, the others the second.
template <class Pass>
struct Passes {
  Pass of[2];
  GPU_DEVICE const Pass& mine() const { return of[int(blockIdx.x) < of[0].l.blocks ? 0 : 1]; }
};

// Which units and lanes this block has.
struct BlockShare {
  int first_unit, lane_begin, lane_end;
  int longest;  // of the lanes' lengths, in steps of the pass: what lies beyond exchanges nothing
  GPU_DEVICE explicit BlockShare(const PersistentLayout& l) {
    const int share = l.block() % l.shares, group = l.block() / l.shares;
    first_unit = share * l.unit_groups * kUnitGroup;
    lane_begin = group * l.lanes;
    lane_end = lane_begin + l.lanes < l.B ? lane_begin + l.lanes : l.B;
    longest = l.T + 1;  // the step that follows on a part is one of them
    if (!l.lengths) return;
    longest = 0;
    for (int b = lane_begin + int(threadIdx.x) % gpu::kWarp; b < lane_end; b += gpu::kWarp)
      longest = l.lengths[b] > longest ? l.lengths[b] : longest;
    longest = warp_max(longest) - l.first_step;
  }
};

// Two neighbouring units of one lane: what one thread of the pointwise part works on. Item n of a
// chunk of lanes is always the same thread's.
template <int N>
struct Item {
  int u, tile, slot, half;  // unit group, tile of lanes, and where in its fragments
  int unit, b;              // the first of the two units, the lane
  bool exists;
  GPU_DEVICE Item(int item, const PersistentLayout& l, const BlockShare& share, int first_lane) {
    half = item % 2;
    slot = item / 2 % gpu::kWarp;
    tile = item / 64 % N;
    u = item / 64 / N;
    unit = share.first_unit + u * kUnitGroup + slot / 4 * 2;
    b = first_lane + tile * kTileLanes + slot % 4 * 2 + half;
    exists = u < l.unit_groups && unit < l.Hp && b < share.lane_end;
  }
};

// What is decided of a step for the two units of an item, in one register, since it is kept while
// the block waits: whether the step is one of the lane's, whether the lane starts anew in it, and
// what noise does to each unit (LoopNoise::draw).
class Decisions {
 public:
  Decisions() = default;
  // In step t of the pass, which writes or wrote h in `slot`; t_next reads it, or -1: nobody.
  template <int N>
  GPU_DEVICE Decisions(const PersistentLayout& l, const LoopNoise<float>& noise,
                       const Item<N>& item, int t, int slot, int t_next) {
    if (l.valid(t, item.b)) bits_ = kValid;
    if (!noise.any) return;
    if (valid() && noise.starts(l.first_step + t, item.b)) bits_ |= kStarts;
    if (t_next >= 0) t_next += l.first_step;
#pragma unroll 1
    for (int v = 0; v < 2; ++v)
      if (item.unit + v < l.H)
        bits_ |= noise.draw(l.first_step + slot, item.b, item.unit + v, t_next) << 8 * v;
  }
  GPU_DEVICE bool valid() const { return bits_ & kValid; }
  GPU_DEVICE bool starts() const { return bits_ & kStarts; }
  GPU_DEVICE uint32_t draw(int v) const { return bits_ >> 8 * v & 0xffu; }

 private:
  enum : uint32_t { kValid = 1u << 16, kStarts = 1u << 17 };
  uint32_t bits_ = 0;
};

// A word as it is sent: never the sentinel.
GPU_DEVICE uint32_t sendable(uint32_t word) { return word == kSentinel ? kOtherNan : word; }
// A number as the product takes it: TF32 is rounded once, by who sends it.
template <class P>
GPU_DEVICE uint32_t operand(uint32_t f32_bits) {
  if constexpr (std::is_same_v<P, Tf32Product>)
    return gpu::to_tf32(__builtin_bit_cast(float, f32_bits));
  else
    return f32_bits;
}
// Makes x number e of 16 bytes that are zero there.
template <class P>
GPU_DEVICE void put(Words& w, int e, typename P::Element x) {
  if constexpr (sizeof(x) == 2)
    w[e / 2] |= uint32_t(x.bits) << 16 * (e % 2);
  else
    w[e] = __builtin_bit_cast(uint32_t, x);
}
// Sends numbers k and k + 1 of lane b; k is even. Each word is an access of its own, since only
// accesses of one size are ordered with each other.
template <class P>
GPU_DEVICE void publish(const PersistentLayout& l, uint32_t* entry, int k, int b,
                        const typename P::Element (&numbers)[2]) {
  constexpr int kPerWord = kWide16<P> / 4;
  uint32_t* to =
      entry + (int64_t(k / kBlockK<P>) * l.B + b) * kBlockWords + k % kBlockK<P> / kPerWord;
  if constexpr (kPerWord == 2) {
    const uint32_t word = uint32_t(numbers[0].bits) | uint32_t(numbers[1].bits) << 16;
    gpu::store_relaxed(to, sendable(word));
  } else {
#pragma unroll
    for (int v = 0; v < 2; ++v)
      gpu::store_relaxed(to + v, sendable(operand<P>(__builtin_bit_cast(uint32_t, numbers[v]))));
  }
}

}  // namespace unroll::cuda
