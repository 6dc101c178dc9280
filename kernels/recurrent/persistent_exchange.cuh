// What the passes of the persistent schedule know of the whole: who has which units and lanes, and
// how numbers go from block to block.
//
// The numbers of step i lie at entry i: k_blocks x B x 32 of them, two to a word, in a buffer that
// the pass fills with the sentinel before its first step. A word is written once and read until it
// is not the sentinel: data and flag are the same 32 bits, so no order between different words is
// needed, relaxed accesses suffice, and a 16-byte load that sees some of its words early is as good
// as one that does not. A number that would make the sentinel (two NaN of one pattern) is sent as
// other NaN. No entry is used twice, so nothing has to be taken back, which a ring of entries could
// do only with a fence in every step. The carried-in state of step 0 comes from the caller's array
// and is not waited for.
#pragma once

#include "kernels/base/dtype.h"
#include "kernels/base/exec.h"
#include "kernels/base/gpu.h"
#include "kernels/base/view.h"
#include "kernels/recurrent/persistent_cuda.h"

namespace unroll::cuda {

using namespace persistent;

inline constexpr uint32_t kSentinel = 0xffffffffu, kOtherNan = 0x7fff7fffu;

using Words = gpu::Vec<uint32_t, 4>;  // eight bf16

// What every block is told of the pass.
struct PersistentLayout {
  int T, B, H, Hp, K, k_blocks, unit_groups, shares, lanes;
  int held, held_blocks;  // blocks of K in registers, of a warp and of all
  int summed_warps;       // warps that have a part of K
  bool reverse;
  uint32_t patience;   // looks before a wait is given up; 0: none is
  uint32_t* exchange;  // [T-1,k_blocks,B,16]
  PersistentReport* report;
  const int32_t* lengths;

  // Step i of the pass is step t of the sequence.
  GPU_DEVICE int forward_t(int i) const { return reverse ? T - 1 - i : i; }
  GPU_DEVICE int backward_t(int i) const { return reverse ? i : T - 1 - i; }
  GPU_DEVICE uint32_t* entry(int i) const {
    return exchange + int64_t(i) * k_blocks * B * (kBlockK / 2);
  }
  GPU_DEVICE bool valid(int t, int b) const { return !lengths || t < lengths[b]; }
};

// Which units and lanes this block has.
struct BlockShare {
  int first_unit, lane_begin, lane_end;
  GPU_DEVICE explicit BlockShare(const PersistentLayout& l) {
    const int share = int(blockIdx.x) % l.shares, group = int(blockIdx.x) / l.shares;
    first_unit = share * l.unit_groups * kUnitGroup;
    lane_begin = group * l.lanes;
    lane_end = lane_begin + l.lanes < l.B ? lane_begin + l.lanes : l.B;
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

// Word of two numbers that is never the sentinel.
GPU_DEVICE uint32_t exchange_word(bf16 low, bf16 high) {
  const uint32_t word = uint32_t(low.bits) | uint32_t(high.bits) << 16;
  return word == kSentinel ? kOtherNan : word;
}
// Sends numbers k and k + 1 of lane b; k is even.
GPU_DEVICE void publish(const PersistentLayout& l, uint32_t* entry, int k, int b, bf16 low,
                        bf16 high) {
  const int64_t at = (int64_t(k / kBlockK) * l.B + b) * (kBlockK / 2) + k % kBlockK / 2;
  gpu::store_relaxed(entry + at, exchange_word(low, high));
}

// --- host ---------------------------------------------------------------------------------------

// Fills the exchange with sentinels and clears the report; part of every launch sequence, so that a
// graph may be replayed.
PersistentLayout prepare_persistent(const Exec& exec, const PersistentPlan& plan, bool reverse,
                                    int64_t T, int64_t B, int64_t H, const View1& lengths,
                                    const Scratch& scratch);
// Throws a usage Error if there is no plan or its blocks cannot all be resident.
PersistentPlan require_plan(const Exec& exec, const PersistentTask& task, DType act);

inline gpu::Launch persistent_launch(const PersistentPlan& plan) {
  gpu::Launch shape;
  shape.grid.x = unsigned(plan.blocks);
  shape.block.x = kThreads;
  shape.shared_bytes = plan.shared_bytes;
  shape.cooperative = true;
  return shape;
}

// How many blocks of the pass's kernel one multiprocessor holds.
int persistent_forward_blocks(Cell cell, const PersistentPlan& plan);
int persistent_backward_blocks(Cell cell, const PersistentPlan& plan);

// Calls body(Tiles<1>{}), body(Tiles<2>{}) or body(Tiles<3>{}).
template <int N>
struct Tiles {
  static constexpr int value = N;
};
template <class Body>
auto with_tiles(int n_tiles, Body&& body) {
  switch (n_tiles) {
    case 1:
      return body(Tiles<1>{});
    case 2:
      return body(Tiles<2>{});
    default:
      return body(Tiles<3>{});
  }
}

}  // namespace unroll::cuda
