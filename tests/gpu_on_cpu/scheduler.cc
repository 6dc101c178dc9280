// Who runs next: blocks, warps and threads in one of five orders; what to say when nobody can.
#include <algorithm>
#include <map>

#include "tests/gpu_on_cpu/internal.h"

namespace unroll::gpu_on_cpu {

GridRun* run = nullptr;
Thread* current = nullptr;

namespace {

constexpr size_t kResidentBlocks = 3;    // of a launch that is not cooperative
constexpr size_t kResidentClusters = 2;  // of one with clusters
constexpr int kIdleRounds = 200;         // of polling without progress anywhere: a livelock

uint32_t random_below(uint32_t n) { return uint32_t(run->random() % n); }

// The position of the k-th set bit.
uint32_t set_bit(uint32_t mask, uint32_t k) {
  while (k--) mask &= mask - 1;
  return uint32_t(__builtin_ctz(mask));
}
uint32_t any_bit(uint32_t mask) {
  return set_bit(mask, random_below(uint32_t(__builtin_popcount(mask))));
}
uint32_t high_bit(uint32_t mask) { return 31u - uint32_t(__builtin_clz(mask)); }

Block* pick_block() {
  const Order order = options().order;
  Block* last = run->last_block;
  if (last && last->ready_warps && !(order == Order::random && random_below(64) == 0)) return last;
  std::vector<Block*> ready;
  for (auto& b : run->resident)
    if (b->ready_warps) ready.push_back(b.get());
  if (ready.empty()) return nullptr;
  if (random_order()) return ready[random_below(uint32_t(ready.size()))];
  const auto by_number = [](Block* a, Block* b) { return a->number < b->number; };
  return order == Order::descend ? *std::max_element(ready.begin(), ready.end(), by_number)
                                 : *std::min_element(ready.begin(), ready.end(), by_number);
}

Thread* pick() {
  Block* b = pick_block();
  if (!b) return nullptr;
  const bool same_block = b == run->last_block;
  run->last_block = b;
  uint32_t warp = 0, lane = 0;
  switch (options().order) {
    case Order::ascend:
      warp = same_block && (b->ready_warps >> run->last_warp & 1)
                 ? run->last_warp
                 : uint32_t(__builtin_ctz(b->ready_warps));
      lane = uint32_t(__builtin_ctz(b->warps[warp].ready));
      break;
    case Order::descend:
      warp = same_block && (b->ready_warps >> run->last_warp & 1) ? run->last_warp
                                                                  : high_bit(b->ready_warps);
      lane = high_bit(b->warps[warp].ready);
      break;
    case Order::randwarp:
      warp = same_block && (b->ready_warps >> run->last_warp & 1) ? run->last_warp
                                                                  : any_bit(b->ready_warps);
      lane = any_bit(b->warps[warp].ready);
      break;
    case Order::random:
      warp = any_bit(b->ready_warps);
      lane = any_bit(b->warps[warp].ready);
      break;
    case Order::lockstep: {
      // The next ready thread after the last one, round and round.
      const uint32_t from = same_block ? run->last_thread + 1 : 0;
      warp = from / 32;
      uint32_t lanes =
          warp < b->warps.size() ? b->warps[warp].ready >> (from % 32) << (from % 32) : 0;
      if (!lanes) {
        const uint32_t later = warp + 1 < 32 ? b->ready_warps >> (warp + 1) << (warp + 1) : 0;
        warp = uint32_t(__builtin_ctz(later ? later : b->ready_warps));
        lanes = b->warps[warp].ready;
      }
      lane = uint32_t(__builtin_ctz(lanes));
      break;
    }
  }
  run->last_warp = warp;
  run->last_thread = warp * 32 + lane;
  return &b->threads[run->last_thread];
}

void thread_main();

// Leaves the running context for `next`, or for the scheduler if next is null.
void resume(Fiber& from, Thread* next, bool from_ends) {
  current = next;
  if (next && !next->fiber) next->fiber = take_fiber(thread_main);
  switch_fiber(from, next ? *next->fiber : run->main, from_ends);
}

void end_thread(Thread& t) {
  if (!t.copies.empty()) {
    for (AsyncCopy& c : t.copies) c.group = 0;
    t.groups = 1;
    finish_copies(t, 0);
  }
  Block& b = *t.block;
  Warp& w = warp_of(t);
  const uint32_t bit = 1u << (t.number % 32);
  if (b.arrived)
    fail("exited-threads",
         "exited-threads: " + text_of(t) + " has ended while " + std::to_string(b.arrived) +
             " threads of its block wait in sync_threads at " + text_of(b.barrier_site));
  for (const Meeting& m : w.meetings)
    if (m.mask & bit)
      fail("warp-mask", "warp-mask: " + text_of(t) + " has ended, but the mask at " +
                            text_of(m.site) + " names its lane");
  if (b.cluster && b.cluster->arrived)
    fail("exited-threads", "exited-threads: " + text_of(t) +
                               " has ended while others of its cluster wait in cluster_sync at " +
                               text_of(b.cluster->barrier_site));
  if (run->grid_arrived)
    fail("exited-threads", "exited-threads: " + text_of(t) +
                               " has ended while others wait in grid_sync at " +
                               text_of(run->grid_site));
  if (!t.waited)
    fail("early-start", "early-start: " + text_of(t) +
                            " has ended without wait_for_previous(), which every thread of a "
                            "kernel launched with early_start calls");
  race_thread_ends(t);
  t.wait = Wait::ended;
  w.ready &= ~bit;
  w.lanes &= ~bit;
  w.ended |= bit;
  if (!w.ready) b.ready_warps &= ~(1u << (t.number / 32));
  ++b.ended;
  run->any_ended = true;
  ++run->progress;
}

// A fiber runs thread after thread, as long as the next one has not begun.
void thread_main() {
  fiber_began();
  for (;;) {
    Thread& t = *current;
    run->body(run->body_state);
    end_thread(t);
    Fiber* mine = t.fiber;
    t.fiber = nullptr;
    Thread* next = t.block->ended == run->threads_per_block ? nullptr : pick();
    if (next && !next->fiber) {
      next->fiber = mine;
      current = next;
      continue;
    }
    give_fiber_back(mine);
    resume(*mine, next, /*from_ends=*/true);
  }
}

std::unique_ptr<Block> make_block(uint64_t number) {
  static uint32_t serials = 0;
  const Grid& g = *run->grid;
  auto block = std::make_unique<Block>();
  Block& b = *block;
  b.number = uint32_t(number);
  b.index = dim3(unsigned(number % g.grid.x), unsigned(number / g.grid.x % g.grid.y),
                 unsigned(number / g.grid.x / g.grid.y));
  b.serial = ++serials;
  const uint32_t n = run->threads_per_block;
  b.threads.resize(n);
  b.warps.resize((n + 31) / 32);
  for (uint32_t i = 0; i < n; ++i) {
    b.threads[i].block = &b;
    b.threads[i].number = i;
    b.threads[i].id = b.number * n + i;
    b.threads[i].waited = !g.early_start;
    b.warps[i / 32].ready |= 1u << (i % 32);
  }
  for (uint32_t w = 0; w < b.warps.size(); ++w) {
    b.warps[w].lanes = b.warps[w].ready;
    b.ready_warps |= 1u << w;
  }
  race_block_begins(b);
  return block;
}

std::string who_waits() {
  static const char* const kNames[] = {"ready",        "sync_threads", "a warp operation",
                                       "cluster_sync", "grid_sync",    "a polling load",
                                       "ended"};
  std::map<std::string, int> groups;
  for (auto& b : run->resident)
    for (const Thread& t : b->threads) {
      std::string who = t.wait == Wait::ended ? "have ended"
                                              : std::string("wait in ") + kNames[int(t.wait)] +
                                                    " at " + text_of(t.site);
      ++groups[who];
    }
  std::string text;
  for (auto& [who, count] : groups)
    text += (text.empty() ? "" : "; ") + std::to_string(count) + " threads " + who;
  if (run->next_block < run->blocks)
    text += "; " + std::to_string(run->blocks - run->next_block) +
            " blocks have not begun: a launch that is not cooperative promises no more than that "
            "some of its blocks run at a time";
  return text;
}

[[noreturn]] void stuck(const char* kind) {
  throw Finding(kind, std::string(kind) + ": " + who_waits());
}

void start_blocks() {
  const unsigned size = run->grid->cluster;
  const size_t limit = run->grid->cooperative ? size_t(run->blocks)
                       : size > 1             ? kResidentClusters * size
                                              : kResidentBlocks;
  while (run->resident.size() + size <= limit && run->next_block < run->blocks) {
    const auto cluster = size > 1 ? std::make_shared<Cluster>() : nullptr;
    if (cluster) cluster->blocks.resize(size);
    for (unsigned k = 0; k < size; ++k) {
      // Descending orders begin with the last block.
      const uint64_t i = run->next_block++;
      run->resident.push_back(
          make_block(options().order == Order::descend ? run->blocks - 1 - i : i));
      Block& b = *run->resident.back();
      if (!cluster) continue;
      b.cluster = cluster;
      b.rank = b.index.x % size;
      cluster->blocks[b.rank] = &b;
    }
  }
}

// The shared memory of a cluster goes when all its blocks have ended, so that what is left of one
// that ended early is found by who still uses it.
void retire_blocks() {
  auto& blocks = run->resident;
  for (auto& b : blocks) {
    if (b->over || b->ended < run->threads_per_block) continue;
    b->over = true;
    if (run->last_block == b.get()) run->last_block = nullptr;
    race_block_ends();
    if (!b->cluster) continue;
    ++b->cluster->ended;
    close_shared(*b);
  }
  for (auto& b : blocks)
    if (b->over && (!b->cluster || b->cluster->ended == run->grid->cluster)) {
      release_shared(*b);
      b.reset();
    }
  std::erase(blocks, nullptr);
}

void schedule() {
  int idle_rounds = 0;
  uint64_t last_progress = 0;
  for (start_blocks(); !run->resident.empty();) {
    Thread* t = pick();
    if (!t) {
      if (run->pollers.empty()) stuck("deadlock");
      idle_rounds = run->progress == last_progress ? idle_rounds + 1 : 0;
      last_progress = run->progress;
      if (idle_rounds > kIdleRounds) stuck("livelock");
      wake_pollers();
      continue;
    }
    resume(run->main, t, /*from_ends=*/false);
    current = nullptr;
    if (run->fatal) throw Finding(*run->fatal);
    retire_blocks();
    start_blocks();
  }
}

}  // namespace

void make_ready(Thread& t) {
  const uint32_t warp = t.number / 32;
  t.wait = Wait::nothing;
  t.block->warps[warp].ready |= 1u << (t.number % 32);
  t.block->ready_warps |= 1u << warp;
}

static void switch_away() {
  Thread* self = current;
  Thread* next = pick();
  if (next == self) return;
  resume(*self->fiber, next, /*from_ends=*/false);
}

void wait_for(Wait wait, Site site) {
  Thread& t = *current;
  Warp& w = warp_of(t);
  t.wait = wait;
  t.site = site;
  w.ready &= ~(1u << (t.number % 32));
  if (!w.ready) t.block->ready_warps &= ~(1u << (t.number / 32));
  switch_away();
}

void yield_ready() { switch_away(); }

void wait_polling(Site site) {
  // Random orders let the others look again now and then while some still run; the more there are
  // the seldomer, or they would wake each other without end.
  if (random_order() && random_below(8 * uint32_t(1 + run->pollers.size())) == 0) wake_pollers();
  wait_for_turn(site);
}

void wait_for_turn(Site site) {
  run->pollers.emplace_back(current->block, current->number);
  wait_for(Wait::poll, site);
}

void wake_pollers() {
  for (auto& [block, number] : run->pollers) make_ready(block->threads[number]);
  run->pollers.clear();
}

bool in_kernel() { return current != nullptr; }

void run_grid(const Grid& grid, void (*thread)(const void*), const void* thread_state) {
  if (run) throw Finding("launch", "launch: a kernel was launched from inside a kernel");
  install_sanitizer_callbacks();
  GridRun state;
  state.grid = &grid;
  state.body = thread;
  state.body_state = thread_state;
  state.threads_per_block = grid.block.x * grid.block.y * grid.block.z;
  state.blocks = uint64_t(grid.grid.x) * grid.grid.y * grid.grid.z;
  state.random.seed(options().seed * 0x9E3779B97F4A7C15u + 1);
  run = &state;
  race_grid_begins();
  std::unique_ptr<Finding> finding;
  try {
    schedule();
    check_device_gaps();
  } catch (const Finding& f) {
    finding = std::make_unique<Finding>(f);
  }
  // Threads that a finding cut short never unwind; their stacks go back to the pool.
  for (auto& b : state.resident) {
    if (!b) continue;
    for (Thread& t : b->threads)
      if (t.fiber) give_fiber_back(t.fiber);
    try {
      release_shared(*b);
    } catch (const Finding& f) {
      if (!finding) finding = std::make_unique<Finding>(f);
    }
  }
  run = nullptr;
  current = nullptr;
  std::unique_ptr<Finding> noted = take_noted();
  if (!finding && !noted) return;
  // What was noted on the way is nearer to the cause than how it ended.
  const std::string kind = noted ? noted->kind() : finding->kind();
  std::string text = noted ? noted->what() : "";
  if (finding) text += (text.empty() ? "" : "\n") + std::string(finding->what());
  throw Finding(kind, text + "\n  in " + function_of_address(grid.kernel) + ", " +
                          text_of(grid.grid) + " blocks of " + text_of(grid.block) +
                          " threads, launched at " + text_of(grid.site) +
                          "; UNROLL_GPU_ORDER=" + name_of(options().order) +
                          " UNROLL_GPU_SEED=" + std::to_string(options().seed));
}

}  // namespace unroll::gpu_on_cpu
