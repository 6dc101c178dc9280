// How the persistent schedule divides one pass over a layer among blocks: host code without a
// device, so that it can be tested and asked anywhere.
//
// Both passes are one product per step, of a matrix with M rows for every unit, kept on chip, and
// the numbers that the blocks of a batch group exchange:
//
//   forward    R h_tm1      rows: the M = G gates of each unit    K = Hp       numbers: h_tm1
//   backward   R^T dRh_t    rows: M = 1 per unit                  K = G * Hp   numbers: dRh
//
// Units come in groups of 16, Hp = H rounded up to that. A block owns `unit_groups` of them; the
// `shares` blocks of a batch group own all units and serve `lanes` lanes, n_tiles tiles of 8 lanes
// at a time. K is cut into blocks of 64 bytes, 32 numbers in bf16 and 16 in f32.
//
// Forward, a block keeps all rows of its units and takes in all of K. Backward K is G times as
// long, so the `cluster` blocks of a cluster may share it: each takes in `slice` blocks of K for
// the units of all of them, and keeps only the columns of R^T that these meet, as many bytes as
// before. The sums of a unit then go to the block that owns it, through the cluster's shared
// memory: an exchange more in every step, of few bytes, for 1 / cluster of what comes from L2.
//
// The blocks of K that a block takes in are dealt out in turn to its 8 warps, which stage them in
// shared memory, `piece` of them per warp at a time: all where the matrix leaves room, and else as
// many as it does. In a cluster a warp multiplies them all for the units of one of its blocks: they
// are dealt out anew to the warps_of_K() warps that serve the same units. The first `held` blocks
// of a warp, of its first unit group, are in its registers; the rest of the matrix is in shared
// memory. f32 with MatmulMode::f32 is three TF32 products of the halves of its operands, which are
// split as they are multiplied: the matrix is held once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/base/dtype.h"
#include "kernels/base/exec.h"
#include "kernels/cells/cells.h"

namespace unroll {

namespace persistent {

inline constexpr int kUnitGroup = 16, kTileLanes = 8, kMaxTiles = 3;
inline constexpr int kWarps = 8, kThreads = 32 * kWarps;
// A block of K: bytes and 32-bit words of one of its rows, bytes of 16 rows.
inline constexpr int kBlockBytes = 64, kBlockWords = kBlockBytes / 4;
inline constexpr int64_t kPieceBytes = kUnitGroup * kBlockBytes;
// Bytes of the record at the start of the scratch (persistent_cuda.h).
inline constexpr int64_t kReportBytes = 256;

// Columns of a block of K.
constexpr int block_columns(DType act) { return act == DType::bf16 ? 32 : 16; }
// Blocks of K per warp for which there are registers, 8 for each of the M tiles of 16 rows: what
// the sums of n_tiles tiles of lanes leave free; with three products, also the halves of the
// operands.
constexpr int register_blocks(int M, bool three_products, int n_tiles) {
  if (M == 1) return !three_products ? 17 : n_tiles == 1 ? 14 : 12;
  if (M == 4 && three_products) return n_tiles == 1 ? 3 : 2;
  return 4;
}
// 16-byte loads of numbers that a thread has under way, one for a block of K and a tile of lanes.
inline constexpr int kLoadsAtOnce = 6;
// Tiles of lanes for which there is a kernel: fewer in f32, since each takes long to compile.
constexpr bool has_kernel(DType act, int n_tiles) { return act == DType::bf16 || n_tiles != 2; }

// Clocks of one H200 multiprocessor at 1.83 GHz, from data sheets and other people's measurements;
// none was measured with these kernels; `./dev bench recurrent` does that on a GPU.
inline constexpr double kClocksPerNs = 1.83;
// On one of four tensor cores, mma.sync: m16n8k16 in bf16, and as long m16n8k8 in TF32.
inline constexpr double kMmaClocks = 6.6 / 4;
inline constexpr double kSharedBytesPerClock = 128;  // of one multiprocessor
inline constexpr double kIngestBytesPerClock = 64;   // from L2 into one multiprocessor
inline constexpr double kL2BytesPerClock = 3000;     // from L2 into all of them
inline constexpr double kExchangeNs = 550;  // from a store to its sight by all other blocks
inline constexpr double kLoadNs = 350;      // a load from L2
inline constexpr double kPointwiseNs = 150;
// Within a cluster: from a store to another block's shared memory to its sight there, and what a
// block sends so. Estimates.
inline constexpr double kClusterNs = 300;
inline constexpr double kClusterBytesPerClock = 16;

// The largest cluster that a plan may ask for, backward, where the device has clusters.
inline constexpr int kMaxCluster = 4;

}  // namespace persistent

// What a device holds at once, with one block on each multiprocessor.
struct PersistentRoom {
  int multiprocessors;
  size_t shared_bytes;  // of a block
  // Clusters of 2 and of 4 blocks, 0 where the device has none. A cluster lies within a group of
  // 16 or 18 multiprocessors, or fewer on some chips, so that those of 4 can leave some unused.
  int64_t pairs = 0, fours = 0;

  int64_t& clusters(int size) { return size == 2 ? pairs : fours; }
  int64_t most(int size) const {
    return size == 1 ? multiprocessors
                     : std::min<int64_t>(multiprocessors / size, size == 2 ? pairs : fours);
  }
  // Of n that share the device evenly.
  PersistentRoom share(int n) const {
    return {multiprocessors / n, shared_bytes, pairs / n, fours / n};
  }
};

struct PersistentPlan {
  bool backward = false;
  int M = 0;                // rows per unit
  int64_t Hp = 0, K = 0;    // padded units, length of a row
  int64_t k_blocks = 0;     // in K, rounded up
  int64_t unit_groups = 0;  // per block
  int cluster = 1;          // blocks that share K: 1, 2 or 4
  int64_t slice = 0;        // blocks of K that a block takes in
  int64_t shares = 0;       // blocks of a batch group, a multiple of `cluster`
  int64_t groups = 0;       // of lanes, independent of each other
  int64_t lanes = 0;        // of a group, a multiple of 8; the last group may have fewer
  int n_tiles = 0;          // tiles of 8 lanes that are computed together
  int held = 0;             // blocks of K per warp in registers, at most register_blocks
  int64_t piece = 0;        // blocks of K, per warp that stages them, that are there together
  int64_t blocks = 0;       // of the grid
  size_t shared_bytes = 0;  // per block
  double step_ns = 0;       // predicted time of one step, not measured

  // Tiles of lanes are taken n_tiles at a time.
  int64_t chunks() const {
    const int64_t wide = int64_t(n_tiles) * persistent::kTileLanes;
    return (lanes + wide - 1) / wide;
  }
  // Blocks of K that a warp stages, the one that has most.
  int64_t warp_blocks() const { return (slice + persistent::kWarps - 1) / persistent::kWarps; }
  // Warps that multiply different blocks of K for the same units.
  int64_t warps_of_K() const { return persistent::kWarps / cluster; }
};

struct PersistentTask {
  Cell cell;
  bool backward;
  int64_t B, H;
  DType act = DType::bf16;              // or f32
  MatmulMode matmul = MatmulMode::f32;  // of products of f32

  bool three_products() const { return act == DType::f32 && matmul == MatmulMode::f32; }
};

// The fastest plan by prediction for which there is room. Where there is none, blocks is 0 and
// `why`, if given, says what would be needed.
PersistentPlan plan_persistent(const PersistentTask& task, const PersistentRoom& room,
                               std::string* why = nullptr);

// The plan with these choices, whether it fits or not; at most `held` blocks in registers and
// `piece` staged together, the next larger n_tiles where there is no kernel, no cluster forward.
PersistentPlan persistent_plan_of(const PersistentTask& task, int64_t groups, int64_t unit_groups,
                                  int n_tiles, int held = 1 << 20, int64_t piece = 1 << 20,
                                  int cluster = 1);

// The plan with the largest piece for which there is room in `shared_bytes`, in whole turns of
// loads where that is possible; with the smallest if there is none.
PersistentPlan fitted_plan(PersistentPlan plan, const PersistentTask& task, size_t shared_bytes);

// Words, of two bf16 or one f32, that the blocks exchange in one step.
inline int64_t persistent_step_words(const PersistentPlan& plan, int64_t B) {
  return plan.k_blocks * B * persistent::kBlockWords;
}

// Scratch of either pass: a record of 256 bytes, then the numbers of T - 1 steps. 0 for a type in
// which the schedule does not compute.
size_t persistent_scratch_bytes(Cell cell, DType act, int64_t T, int64_t B, int64_t H);

}  // namespace unroll
