// State of a running grid, shared by the parts of the engine:
//   scheduler.cc  who runs next; deadlock and livelock
//   sync.cc       barriers, warp operations
//   access.cc     atomics, relaxed and polling loads, cp.async
//   tensor.cc     ldmatrix, mma
//   memory.cc     device memory, guards
//   shared.cc     shared memory of a block and of its cluster
//   race.cc       races, bytes that were never written
//   order.cc      what happens before what
//   report.cc     findings, source lines
//   limits.cc     what a device would refuse
#pragma once

#include <array>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/gpu_on_cpu/engine.h"
#include "tests/gpu_on_cpu/fiber.h"
#include "tests/gpu_on_cpu/thread_ops.h"

namespace unroll::gpu_on_cpu {

struct Block;
struct Knowledge;

// What a thread that is not ready waits for.
enum class Wait : uint8_t {
  nothing,
  block_barrier,
  warp_operation,
  cluster_barrier,
  grid_barrier,
  poll,
  ended
};

struct AsyncCopy {
  char* dst;
  const char* src;
  int bytes;
  int group;  // -1 until committed
  Site site;
};

struct Thread {
  Block* block = nullptr;
  Fiber* fiber = nullptr;  // null before the thread begins and after it has ended
  uint32_t number = 0;     // in its block
  Wait wait = Wait::nothing;
  Site site;  // where it waits
  // The last polling load: an unchanged value lets others run.
  const void* polled = nullptr;
  std::array<uint32_t, 4> polled_value{};
  std::vector<AsyncCopy> copies;
  int groups = 0;
  bool waited = true;  // false: in a grid that started early, before wait_for_previous
  // Race build only.
  uint32_t id = 0;     // in the grid
  uint32_t clock = 1;  // of its accesses, advanced by every release
  std::shared_ptr<Knowledge> known, fenced, observed;
};

// Lanes of one warp that meet in one operation.
struct Meeting {
  WarpKind kind;
  uint32_t mask, arrived;
  Site site;
  void* value[32];
  int operand[32];
  int bytes;
};

struct Warp {
  uint32_t ready = 0, lanes = 0;  // lanes: those not ended
  uint32_t ended = 0;
  std::vector<Meeting> meetings;
  std::vector<std::array<uint32_t, 32>> clocks;  // race build: what lane i knows of lane j
};

struct SharedObject {
  char* data;
  size_t bytes;
  const void* tag;
  const char* name;
  Site site;
  size_t reserved;  // with the gap
};

// Blocks that run at the same time and reach each other's shared memory; only in a launch with
// clusters of more than one.
struct Cluster {
  std::vector<Block*> blocks;  // by rank
  uint32_t arrived = 0;        // threads at its barrier
  uint32_t ended = 0;          // blocks
  Site barrier_site;
};

// The last access that a thread of another block made to a block's shared memory.
struct RemoteAccess {
  uint32_t thread, epoch, clock;
  uint32_t where;  // 0: none, or one that is ordered before the end of the block
};

struct Block {
  dim3 index;
  uint32_t number = 0;
  uint32_t serial = 0;  // unique among all blocks that ever ran
  uint32_t epoch = 1;   // block barriers passed, plus one
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  uint32_t ready_warps = 0;
  uint32_t arrived = 0, ended = 0;  // at the barrier; for good
  Site barrier_site;
  std::shared_ptr<Cluster> cluster;  // null outside clusters
  uint32_t rank = 0;                 // in it
  uint32_t cluster_arrived = 0;      // of its threads, at the cluster's barrier
  bool over = false;                 // no thread is left; a cluster's blocks leave together
  std::vector<RemoteAccess> remote;  // race build; by rank and thread
  std::vector<SharedObject> shared;
  size_t static_bytes = 0;
  SharedObject dynamic{};
  size_t carved_bytes = 0, carve_end = 0;  // of the request; offset in the region with gaps
};

struct GridRun {
  const Grid* grid = nullptr;
  void (*body)(const void*) = nullptr;
  const void* body_state = nullptr;
  uint32_t threads_per_block = 0;
  uint64_t blocks = 0, next_block = 0;
  std::vector<std::unique_ptr<Block>> resident;
  std::vector<std::pair<Block*, uint32_t>> pollers;
  uint64_t grid_arrived = 0;
  bool any_ended = false;
  Site grid_site;
  uint64_t progress = 0;  // anything that may make a polling thread see something new
  Block* last_block = nullptr;
  uint32_t last_warp = 0, last_thread = 0;
  std::mt19937_64 random;
  Fiber main;
  std::unique_ptr<Finding> fatal;
  std::set<const void*> host_accesses;  // code already reported for them
};

extern GridRun* run;     // null outside kernels
extern Thread* current;  // the thread that runs; null in the scheduler

inline Block& this_block() { return *current->block; }
inline Warp& warp_of(Thread& t) { return t.block->warps[t.number / 32]; }
inline bool random_order() {
  return options().order == Order::random || options().order == Order::randwarp;
}

// --- scheduler.cc
void make_ready(Thread& t);
// Puts the current thread aside until make_ready; returns when it runs again.
void wait_for(Wait wait, Site site);
// Lets another thread run if there is one; the current one stays ready.
void yield_ready();
// Waits until nothing else can run or, in random orders, a while.
void wait_polling(Site site);
// Waits like a polling thread, in the middle of something.
void wait_for_turn(Site site);
void wake_pollers();

// --- report.cc
// Ends the grid (or throws, outside kernels). `text` begins with the kind.
[[noreturn]] void fail(const std::string& kind, const std::string& text);
// Notes a finding and goes on; the grid throws when it ends. Repetitions of the same text are
// dropped.
void note(const std::string& kind, const std::string& text);
std::unique_ptr<Finding> take_noted();
std::string text_of(Site site);
std::string text_of(const Thread& t);  // "block 1 thread 0"
std::string text_of(dim3 index);
std::string line_of_address(const void* code);  // "file:line in function"
std::string function_of_address(const void* code);
// Whether the mutation option turns this site off; also records that the site was reached.
bool site_is_off(const char* kind, Site site);
void install_sanitizer_callbacks();

// --- memory.cc
inline constexpr size_t kGap = 256;
bool in_arena(const void* p);
bool in_shared_arena(const void* p);
void check_device_gaps();
char* take_shared(size_t reserved);
void give_shared(char* data, size_t reserved);
inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }
// Poison that AddressSanitizer reports, and poison that may be read.
void guard(const void* p, size_t bytes);
void unguard(void* p, size_t bytes);
bool untouched(const char* p, size_t bytes);                // whether it is all poison
void copy_bytes(void* dst, const void* src, size_t bytes);  // never intercepted
void fill_bytes(void* dst, int byte, size_t bytes);
void* reserve_shadow(size_t bytes);
char* arena_base();
size_t arena_bytes();
void forget_shadow(const void* p, size_t bytes);

// --- shared.cc
void release_shared(Block& block);  // checks the gaps
void close_shared(Block& block);    // of a block that has ended while its cluster goes on
// The live object or buffer around p as the current thread may see it; data == nullptr if none.
struct Extent {
  const char* data = nullptr;
  size_t bytes = 0;
  Block* owner = nullptr;  // of shared memory
};
Extent extent_of(const void* p);
// The block of the current cluster that had p in its shared memory and has ended, or null.
const Block* ended_owner(const void* p);

// --- access.cc
void finish_copies(Thread& t, int groups_left);
// Fails where p is in the shared memory of another block.
void check_own(const void* p, const char* what, Site site);

// --- race.cc, order.cc; all return at once unless this is the race build
struct Code {  // where an access is made: an address in the program, or a site
  const void* address = nullptr;
  Site site;
};
enum class Access : uint8_t { read, write, atomic_read, atomic_write, atomic_update };
void race_access(const void* p, size_t bytes, Access kind, const Code& code);
void race_copy_begins(void* dst, Site site);  // 16 bytes that change at any time from here on
void race_copy_ends(void* dst, Site site);
void race_written_outside(void* p, size_t bytes);
void race_read_outside(const void* p, size_t bytes);
void race_grid_begins();
void race_block_begins(Block& block);
void race_block_barrier(Block& block);
void race_cluster_barrier(Cluster& cluster);
void race_thread_ends(const Thread& t);  // what others did to its block's memory
void race_block_ends();
void race_warp_barrier(Block& block, Warp& warp, uint32_t mask, uint32_t warp_number);
void race_grid_barrier();
void race_fence();
enum class Publish : uint8_t { store, update };
void race_released(const void* p, Publish how, bool ordered);
void race_acquired(const void* p, bool ordered);

}  // namespace unroll::gpu_on_cpu
