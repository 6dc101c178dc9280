// The persistent schedule's division into blocks, and the model that chooses it.
#include "kernels/recurrent/persistent_plan.h"

#include <algorithm>

namespace unroll {

using namespace persistent;

namespace {

constexpr int kAll = 1 << 20;  // blocks of K: as many as there are

int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

// Blocks of K of the matrix, of one row per unit of a group, that the warps hold in registers.
int64_t registered(const PersistentPlan& p) {
  return p.cluster * std::min(p.slice, p.warps_of_K() * p.held);
}
// All that a block keeps, in the same measure.
int64_t kept(const PersistentPlan& p) { return p.cluster * p.unit_groups * p.slice; }

// Bytes of the warps' partial sums.
int64_t partial_bytes(const PersistentPlan& p) {
  return p.cluster * p.unit_groups * p.M * p.n_tiles * p.warps_of_K() * 32 * 16;
}
// Bytes of the sums of a block's units that come from one block of the cluster.
int64_t sent_bytes(const PersistentPlan& p) { return p.unit_groups * p.n_tiles * 32 * 16; }

// The numbers of some blocks of K.
int64_t staged_bytes(const PersistentPlan& p, int64_t blocks) {
  return blocks * p.n_tiles * kTileLanes * kBlockBytes;
}
int64_t staged_bytes(const PersistentPlan& p) {
  return staged_bytes(p, std::min(p.slice, kWarps * p.piece));
}

double predict(const PersistentPlan& p, bool three_products) {
  const double chunks = double(p.chunks());
  const double pieces = double(kept(p) * p.M), in_registers = double(registered(p) * p.M);
  const double math = pieces * 2 * p.n_tiles * kMmaClocks * (three_products ? 3 : 1);
  const double taken_in = double(staged_bytes(p, p.slice));
  // The matrix's part in shared memory, and the numbers, written and read once per unit group.
  const double from_shared = ((pieces - in_registers) * double(kPieceBytes) +
                              taken_in * double(1 + p.cluster * p.unit_groups)) /
                             kSharedBytesPerClock;
  const double ingest =
      std::max(taken_in / kIngestBytesPerClock, taken_in * double(p.blocks) / kL2BytesPerClock);
  // Partial sums are written once and read once for every piece of K.
  const double pieces_of_K = double(divide_up(p.warp_blocks(), p.piece));
  const double reduce = 2 * pieces_of_K * double(partial_bytes(p)) / kSharedBytesPerClock;
  const double handed_over = double((p.cluster - 1) * sent_bytes(p)) / kClusterBytesPerClock;
  const double clocks = std::max(math, from_shared) + ingest + reduce + handed_over;
  // A thread waits for one round of its loads before the next; the first wait is the exchange's.
  const double rounds = chunks * double(divide_up(p.warp_blocks(), kLoadsAtOnce / p.n_tiles));
  return chunks * (clocks / kClocksPerNs + kPointwiseNs + (p.cluster > 1 ? kClusterNs : 0)) +
         kExchangeNs + (rounds - 1) * kLoadNs;
}

size_t shared_bytes_of(const PersistentPlan& p) {
  const int64_t matrix = (kept(p) - registered(p)) * p.M * kPieceBytes;
  // Two sets of what the cluster hands over, so that one barrier between two uses is enough.
  const int64_t received = p.cluster > 1 ? 2 * p.cluster * sent_bytes(p) : 0;
  // Two states in f32 for each unit and lane: the gradients that backward carries.
  const int64_t carried =
      p.backward ? p.chunks() * p.unit_groups * kUnitGroup * kTileLanes * p.n_tiles * 8 : 0;
  return size_t(matrix + staged_bytes(p) + partial_bytes(p) + received + carried);
}

}  // namespace

PersistentPlan persistent_plan_of(const PersistentTask& task, int64_t groups, int64_t unit_groups,
                                  int n_tiles, int held, int64_t piece, int cluster) {
  const int G = info_of(task.cell).gates;
  PersistentPlan p;
  p.backward = task.backward;
  p.M = task.backward ? 1 : G;
  p.Hp = divide_up(task.H, kUnitGroup) * kUnitGroup;
  p.K = task.backward ? G * p.Hp : p.Hp;
  p.k_blocks = divide_up(p.K, block_columns(task.act));
  p.unit_groups = unit_groups;
  p.cluster = task.backward ? cluster : 1;
  p.slice = divide_up(p.k_blocks, p.cluster);
  p.shares = divide_up(p.Hp / kUnitGroup, unit_groups * p.cluster) * p.cluster;
  p.lanes = divide_up(divide_up(task.B, groups), kTileLanes) * kTileLanes;
  p.groups = divide_up(task.B, p.lanes);
  p.n_tiles = has_kernel(task.act, n_tiles) ? n_tiles : n_tiles + 1;
  p.held = std::min(held, register_blocks(p.M, task.three_products(), p.n_tiles));
  p.piece = std::min(piece, p.warp_blocks());
  p.blocks = p.shares * p.groups;
  p.shared_bytes = shared_bytes_of(p);
  p.step_ns = predict(p, task.three_products());
  return p;
}

PersistentPlan fitted_plan(PersistentPlan p, const PersistentTask& task, size_t shared_bytes) {
  if (p.shared_bytes <= shared_bytes) return p;
  const int64_t turn = kLoadsAtOnce / p.n_tiles;
  const int64_t rest = int64_t(p.shared_bytes) - staged_bytes(p);
  const int64_t room = (int64_t(shared_bytes) - rest) / staged_bytes(p, kWarps);
  p.piece = std::max<int64_t>(room >= turn ? room / turn * turn : room, 1);
  p.shared_bytes = shared_bytes_of(p);
  p.step_ns = predict(p, task.three_products());
  return p;
}

PersistentPlan plan_persistent(const PersistentTask& task, const PersistentRoom& room,
                               std::string* why) {
  const int multiprocessors = room.multiprocessors;
  const size_t shared_bytes = room.shared_bytes;
  const int64_t all_groups = divide_up(task.H, kUnitGroup);
  const int64_t fewest = divide_up(all_groups, multiprocessors);
  const int64_t most_lanes = divide_up(task.B, kTileLanes);
  PersistentPlan best;
  PersistentPlan least;  // the one that asks for the least shared memory
  for (int cluster = 1; cluster <= (task.backward ? kMaxCluster : 1); cluster *= 2)
    for (int64_t groups = 1; groups <= std::min<int64_t>(most_lanes, multiprocessors); ++groups)
      for (int64_t u = fewest; u <= std::min(all_groups, fewest + 7); ++u)
        for (int n = 1; n <= kMaxTiles; ++n) {
          const PersistentPlan p = fitted_plan(
              persistent_plan_of(task, groups, u, n, kAll, kAll, cluster), task, shared_bytes);
          if (p.blocks / cluster > room.most(cluster)) break;
          if (n > 1 && int64_t(n - 1) * kTileLanes >= p.lanes) break;
          if (!least.blocks || p.shared_bytes < least.shared_bytes) least = p;
          if (p.shared_bytes <= shared_bytes && (!best.blocks || p.step_ns < best.step_ns))
            best = p;
        }
  if (!best.blocks && why)
    *why = std::string("the ") + (task.backward ? "backward" : "forward") +
           " pass keeps the recurrent matrix on chip, and with H = " + std::to_string(task.H) +
           " spread over " + std::to_string(multiprocessors) + " multiprocessors a block needs " +
           std::to_string(divide_up(int64_t(least.shared_bytes), 1024)) +
           " KB of shared memory; the device gives it " + std::to_string(shared_bytes / 1024);
  return best;
}

size_t persistent_scratch_bytes(Cell cell, DType act, int64_t T, int64_t B, int64_t H) {
  if (act != DType::bf16 && act != DType::f32) return 0;
  // Backward exchanges all gates, forward one number per unit.
  const PersistentPlan p = persistent_plan_of({cell, true, B, H, act}, 1, 1, 1);
  return size_t(kReportBytes + (T - 1) * persistent_step_words(p, B) * 4);
}

}  // namespace unroll
