// The race detector, order: what is ordered before what a thread does now.
//
// An access is stamped with its thread, the number of block barriers its block has passed, and a
// clock of its own. It is ordered before what a thread does now if
//   - the thread itself made it;
//   - its block is the same and has passed a barrier since;
//   - its warp is the same and a sync_warp of both lanes lies between;
//   - its cluster is the same and has passed a cluster_sync since;
//   - the grid has passed a grid_sync since;
//   - a chain of release and acquire leads from its thread, or from its block after a barrier,
//   here.
// Release and acquire are those of the PTX memory consistency model: a fence followed by a relaxed
// write, or a releasing write; a relaxed read followed by a fence, or an acquiring read.
#include <algorithm>
#include <unordered_map>

#include "tests/gpu_on_cpu/internal.h"
#include "tests/gpu_on_cpu/race.h"

namespace unroll::gpu_on_cpu {
namespace {

struct Order {
  std::vector<uint32_t> floor;  // per block: accesses of lower epochs precede a grid_sync
  std::unordered_map<const void*, std::shared_ptr<Knowledge>> locations;
};
Order& order() {
  static Order* o = new Order;
  return *o;
}

// All that the current thread may promise to whoever acquires from it; it begins a new clock.
std::shared_ptr<Knowledge> published() {
  Thread& t = *current;
  Block& b = *t.block;
  auto k = t.known ? std::make_shared<Knowledge>(*t.known) : std::make_shared<Knowledge>();
  k->raise_block(b.number, b.epoch);
  const auto& lanes = warp_of(t).clocks[t.number % 32];
  const uint32_t first = t.id - t.number % 32;
  Knowledge own;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t clock = lane == t.number % 32 ? t.clock : lanes[lane];
    if (clock) own.threads.push_back({first + lane, clock, b.number, b.epoch});
  }
  k->join(own);
  ++t.clock;
  return k;
}
void learn(std::shared_ptr<Knowledge>& known, const std::shared_ptr<Knowledge>& news) {
  if (!news || news == known) return;
  if (!known) {
    known = news;
    return;
  }
  if (known.use_count() > 1) known = std::make_shared<Knowledge>(*known);
  known->join(*news);
}

}  // namespace

bool is_ordered(uint32_t thread, uint32_t epoch, uint32_t clock) {
  const Thread& t = *current;
  if (thread == t.id) return true;
  const uint32_t n = run->threads_per_block, block = thread / n, number = thread % n;
  const Block& mine = *t.block;
  if (block == mine.number) {
    if (epoch < mine.epoch) return true;
    if (number / 32 == t.number / 32 &&
        mine.warps[number / 32].clocks[t.number % 32][number % 32] >= clock)
      return true;
  }
  const std::vector<uint32_t>& floor = order().floor;
  if (block < floor.size() && epoch < floor[block]) return true;
  return t.known && t.known->covers(block, epoch, thread, clock);
}

bool has_heard_of(uint32_t block) {
  const std::vector<uint32_t>& floor = order().floor;
  if (block < floor.size() && floor[block] > 0) return true;
  const auto& known = current->known;
  return known && block < known->blocks.size() && known->blocks[block] > 0;
}

void forget_order() {
  order().floor.clear();
  order().locations.clear();
}

void race_block_begins(Block& b) {
  if (!race_build()) return;
  for (Warp& w : b.warps) w.clocks.assign(32, {});
}
void race_block_barrier(Block& b) {
  if (!race_build()) return;
  ++b.epoch;
  std::shared_ptr<Knowledge> all;
  for (Thread& t : b.threads) learn(all, t.known);
  if (all)
    for (Thread& t : b.threads) t.known = all;
}
void race_warp_barrier(Block& b, Warp& w, uint32_t mask, uint32_t warp_number) {
  if (!race_build()) return;
  std::array<uint32_t, 32> joined{};
  std::shared_ptr<Knowledge> all;
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Thread& t = b.threads[warp_number * 32 + lane];
    for (uint32_t j = 0; j < 32; ++j) joined[j] = std::max(joined[j], w.clocks[lane][j]);
    joined[lane] = std::max(joined[lane], t.clock++);
    learn(all, t.known);
  }
  for (uint32_t lane = 0; lane < 32; ++lane) {
    if (!(mask >> lane & 1)) continue;
    w.clocks[lane] = joined;
    if (all) b.threads[warp_number * 32 + lane].known = all;
  }
}
void race_grid_barrier() {
  if (!race_build()) return;
  std::vector<uint32_t>& floor = order().floor;
  floor.resize(size_t(run->blocks));
  for (auto& b : run->resident) floor[b->number] = ++b->epoch;
}
void race_cluster_barrier(Cluster& c) {
  if (!race_build()) return;
  const auto all = std::make_shared<Knowledge>();
  const Knowledge* last = nullptr;
  for (Block* b : c.blocks) {
    for (const Thread& t : b->threads) {
      if (t.known && t.known.get() != last) all->join(*t.known);
      last = t.known.get();
    }
  }
  for (Block* b : c.blocks) all->raise_block(b->number, ++b->epoch);
  for (Block* b : c.blocks)
    for (Thread& t : b->threads) t.known = all;
}
void race_fence() {
  if (!race_build()) return;
  learn(current->known, current->observed);
  current->fenced = published();
}
void race_released(const void* p, Publish how, bool ordered) {
  if (!race_build()) return;
  auto& locations = order().locations;
  const std::shared_ptr<Knowledge> news = ordered ? published() : current->fenced;
  if (how == Publish::update) {
    if (news) learn(locations[p], news);
  } else if (news) {
    locations[p] = news;
  } else {
    locations.erase(p);
  }
}
void race_acquired(const void* p, bool ordered) {
  if (!race_build()) return;
  const auto& locations = order().locations;
  const auto it = locations.find(p);
  if (it != locations.end()) learn(ordered ? current->known : current->observed, it->second);
}

}  // namespace unroll::gpu_on_cpu
