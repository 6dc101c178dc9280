// How the persistent schedule divides one pass over a layer among blocks: host code without a
// device, so that it can be tested and asked anywhere.
//
// Both passes are one product per step, of a matrix with M rows for every unit, kept on chip, and
// the numbers that the blocks of a batch group exchange:
//
//   forward    R h_tm1      rows: the M = G gates of each unit    K = Hp       numbers: h_tm1
//   backward   R^T dRh_t    rows: M = 1 per unit                  K = G * Hp   numbers: dRh
//
// Units come in groups of 16, Hp = H rounded up to that. A block owns `unit_groups` of them with
// all their rows; the `shares` blocks of a batch group own all units and serve `lanes` lanes,
// n_tiles tiles of 8 lanes at a time. K is cut into blocks of 32, dealt out to the 8 warps of a
// block in turn. The first `held` blocks of a warp, of the first unit group, are in its registers;
// the rest of the matrix is in shared memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "kernels/cells/cells.h"

namespace unroll {

namespace persistent {

inline constexpr int kUnitGroup = 16, kBlockK = 32, kTileLanes = 8, kMaxTiles = 3;
inline constexpr int kWarps = 8, kThreads = 32 * kWarps;
// Bytes of one block of 32 columns of 16 rows of the matrix.
inline constexpr int64_t kPieceBytes = kUnitGroup * kBlockK * 2;
// Bytes of the record at the start of the scratch (persistent_cuda.h).
inline constexpr int64_t kReportBytes = 256;

// Blocks of K per warp for which there are registers, 8 for each of the M tiles of 16 rows: what
// the sums of kMaxTiles tiles of lanes leave free.
constexpr int register_blocks(int M) { return M == 1 ? 18 : 4; }

}  // namespace persistent

struct PersistentPlan {
  bool backward = false;
  int M = 0;                // rows per unit
  int64_t Hp = 0, K = 0;    // padded units, length of a row
  int64_t k_blocks = 0;     // of 32 in K, rounded up
  int64_t unit_groups = 0;  // per block
  int64_t shares = 0;       // blocks of a batch group
  int64_t groups = 0;       // of lanes, independent of each other
  int64_t lanes = 0;        // of a group, a multiple of 8; the last group may have fewer
  int n_tiles = 0;          // tiles of 8 lanes that are computed together
  int held = 0;             // blocks of K per warp in registers, at most register_blocks(M)
  int64_t blocks = 0;       // of the grid
  size_t shared_bytes = 0;  // per block
  double step_ns = 0;       // predicted time of one step, not measured

  // Tiles of lanes are taken n_tiles at a time.
  int64_t chunks() const {
    const int64_t wide = int64_t(n_tiles) * persistent::kTileLanes;
    return (lanes + wide - 1) / wide;
  }
};

struct PersistentTask {
  Cell cell;
  bool backward;
  int64_t B, H;
};

// The fastest plan by prediction for `multiprocessors`, each with one block that may have
// `shared_bytes`. Where none fits, blocks is 0 and `why`, if given, says what would be needed.
PersistentPlan plan_persistent(const PersistentTask& task, int multiprocessors, size_t shared_bytes,
                               std::string* why = nullptr);

// The plan with these choices, whether it fits or not; at most `held` blocks in registers.
PersistentPlan persistent_plan_of(const PersistentTask& task, int64_t groups, int64_t unit_groups,
                                  int n_tiles, int held = 1 << 20);

// Words (two numbers each) that the blocks exchange in one step.
inline int64_t persistent_step_words(const PersistentPlan& plan, int64_t B) {
  return plan.k_blocks * B * persistent::kBlockK / 2;
}

// Scratch of either pass: a record of 256 bytes, then the numbers of T - 1 steps.
size_t persistent_scratch_bytes(Cell cell, int64_t T, int64_t B, int64_t H);

}  // namespace unroll
