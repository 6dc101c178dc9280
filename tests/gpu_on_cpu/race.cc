// The race detector, accesses: which earlier access of the same bytes is not ordered before the
// present one, which bytes were never written. What is ordered: order.cc.
//
// A thread of a grid that started early has, until wait_for_previous, none of what the grids of its
// stream wrote that may still be running: those back to the last one that did not start early.
#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_map>

#include "tests/gpu_on_cpu/internal.h"
#include "tests/gpu_on_cpu/race.h"

namespace unroll::gpu_on_cpu {
namespace {

constexpr uint32_t kAtomic = 0x80000000u;
constexpr uint32_t kIsSite = 0x80000000u;

struct Stamp {
  uint32_t thread = 0;  // in the grid; kAtomic added for atomics
  uint32_t epoch = 0, clock = 0;
  uint32_t where = 0;  // 0: no access
};
// What is known of four bytes, or of one where neighbours are accessed one by one.
struct alignas(64) Cell {
  Stamp write, read[2];
  uint32_t generation;  // the launch or, for shared memory, the block to which the stamps belong
  uint8_t written;      // a bit per byte
  uint8_t split;        // see the cells of the single bytes
  uint8_t copying;      // an asynchronous copy to here is under way
  uint32_t written_in;  // the launch that wrote here last
};
static_assert(sizeof(Cell) == 64);

struct State {
  Cell *words = nullptr, *bytes = nullptr;
  uint32_t launch = 0;
  std::unordered_map<const void*, uint32_t> chains;  // per stream: its last full start
  uint32_t chain = 0;                                // that of the running grid
  std::vector<Code> sites;
  std::unordered_map<uint64_t, uint32_t> site_numbers;
  std::set<std::tuple<int, uint32_t, uint32_t>> reported;
  Extent last_extent;
  const Block* last_extent_block = nullptr;
};
State& state() {
  static State* s = [] {
    auto* made = new State;
    made->words = static_cast<Cell*>(reserve_shadow(arena_bytes() / 4 * sizeof(Cell)));
    made->bytes = static_cast<Cell*>(reserve_shadow(arena_bytes() * sizeof(Cell)));
    return made;
  }();
  return *s;
}

uint32_t number_of(const Code& code) {
  if (code.address) return uint32_t(program_offset(code.address)) + 1;
  State& s = state();
  const uint64_t key =
      reinterpret_cast<uintptr_t>(code.site.file) * 1000003u + uint64_t(code.site.line);
  auto [it, fresh] = s.site_numbers.try_emplace(key, uint32_t(s.sites.size()));
  if (fresh) s.sites.push_back(code);
  return it->second | kIsSite;
}
std::string text_of_where(uint32_t where) {
  if (where & kIsSite) return text_of(state().sites[where & ~kIsSite].site);
  return line_of_address(program_address(where - 1));
}
std::string text_of(const Stamp& s) {
  const uint32_t id = s.thread & ~kAtomic, n = run->threads_per_block;
  return "block " + std::to_string(id / n) + " thread " + std::to_string(id % n) +
         (s.thread & kAtomic ? " (atomic)" : "") + " at " + text_of_where(s.where);
}

bool ordered(const Stamp& s) { return is_ordered(s.thread & ~kAtomic, s.epoch, s.clock); }

enum Fault {
  kUninitialised,
  kWriteRead,
  kReadWrite,
  kWriteWrite,
  kCopying,
  kTooEarly,
  kNotBegun,
  kMayHaveEnded
};

void report(Fault fault, const Stamp& now, const Stamp& before) {
  State& s = state();
  if (!s.reported.insert({fault, now.where, before.where}).second) return;
  static const char* const kNames[] = {"uninitialised",     "race(write-read)", "race(read-write)",
                                       "race(write-write)", "async-copy",       "early-start",
                                       "cluster-start",     "exited-block"};
  const std::string kind = kNames[fault];
  if (fault == kUninitialised)
    return note(kind, kind + ": " + text_of(now) + " reads bytes that were never written");
  if (fault == kNotBegun)
    return note(kind, kind + ": " + text_of(now) +
                          " touches the shared memory of another block of its cluster, and no "
                          "cluster_sync says that it has begun");
  if (fault == kMayHaveEnded)
    return note(kind, kind + ": " + text_of(now) +
                          " touches the shared memory of another block of its cluster, and no "
                          "cluster_sync lies between that and the end of the block");
  if (fault == kTooEarly)
    return note(kind, kind + ": " + text_of(now) +
                          (before.where ? " writes device memory"
                                        : " reads what an earlier kernel of the stream may still "
                                          "be writing") +
                          " before wait_for_previous()");
  if (fault == kCopying)
    return note(kind, kind + ": " + text_of(now) + " touches the destination of the copy by " +
                          text_of(before) + ", which was not waited for");
  note(kind, kind + ": " + text_of(before) + " | " + text_of(now));
}

bool is_atomic(const Stamp& s) { return s.thread & kAtomic; }
bool races(const Stamp& before, const Stamp& now) {
  return before.where && !(is_atomic(before) && is_atomic(now)) && !ordered(before);
}

bool all_poison(const char* p, int bytes) {
  for (int i = 0; i < bytes; ++i)
    if (static_cast<unsigned char>(p[i]) != 0xff) return false;
  return true;
}

void visit(Cell& c, const char* p, int bytes, uint8_t mask, Access kind, const Stamp& now) {
  if (c.copying) report(kCopying, now, c.write);
  const bool writes =
      kind == Access::write || kind == Access::atomic_write || kind == Access::atomic_update;
  // Bytes that are not poison were written by code that is not watched.
  if ((kind == Access::read || kind == Access::atomic_read || kind == Access::atomic_update) &&
      (c.written & mask) != mask && all_poison(p, bytes))
    report(kUninitialised, now, {});
  if (races(c.write, now)) report(writes ? kWriteWrite : kWriteRead, now, c.write);
  if (writes) {
    for (Stamp& r : c.read) {
      if (races(r, now)) report(kReadWrite, now, r);
      r.where = 0;
    }
    c.write = now;
    c.written |= mask;
    c.written_in = state().launch;
    return;
  }
  // Two readers are enough to see that someone else read; the one that matters least goes.
  if (c.read[0].where == 0 || c.read[0].thread == now.thread) {
    c.read[0] = now;
  } else if (c.read[1].where == 0 || c.read[1].thread == now.thread || !ordered(c.read[0])) {
    c.read[1] = now;
  } else {
    c.read[0] = now;
  }
}

// Stamps of an earlier launch say nothing; shared memory of an earlier block was not even written.
void refresh(Cell& c, bool shared, uint32_t generation) {
  if (c.generation == generation) return;
  c.generation = generation;
  c.write.where = c.read[0].where = c.read[1].where = 0;
  c.copying = 0;
  if (shared) c.written = c.split = 0;
}

void split(size_t offset) {
  State& s = state();
  Cell& word = s.words[offset / 4];
  for (size_t i = 0; i < 4; ++i) {
    Cell& c = s.bytes[offset / 4 * 4 + i];
    c = word;
    c.written = word.written >> i & 1;
  }
  word.split = 1;
}

bool inside(const char* p, size_t bytes) {
  State& s = state();
  Extent& e = s.last_extent;
  if (s.last_extent_block == current->block && p >= e.data && p + bytes <= e.data + e.bytes)
    return true;
  e = extent_of(p);
  s.last_extent_block = current->block;
  return e.data && p + bytes <= e.data + e.bytes;
}

template <class F>
void for_cells(const char* p, size_t bytes, F f) {
  State& s = state();
  const bool shared = in_shared_arena(p);
  const Block* owner = shared && inside(p, 1) ? s.last_extent.owner : current->block;
  const uint32_t generation = shared ? owner->serial : s.launch;
  size_t offset = size_t(p - arena_base());
  const size_t end = offset + bytes;
  while (offset < end) {
    Cell& word = s.words[offset / 4];
    refresh(word, shared, generation);
    const size_t in = offset % 4, n = std::min<size_t>(4 - in, end - offset);
    if (n == 4 && !word.split) {
      f(word, arena_base() + offset, 4, uint8_t(15));
    } else {
      if (!word.split) split(offset);
      for (size_t i = 0; i < n; ++i) {
        Cell& c = s.bytes[offset + i];
        refresh(c, shared, generation);
        f(c, arena_base() + offset + i, 1, uint8_t(1));
      }
    }
    offset += n;
  }
}

// An access to the shared memory of `owner`, another block of the cluster.
void reach(Block& owner, const Stamp& now) {
  if (!has_heard_of(owner.number)) report(kNotBegun, now, now);
  const Thread& t = *current;
  owner.remote.resize(size_t(run->grid->cluster) * run->threads_per_block);
  owner.remote[t.block->rank * run->threads_per_block + t.number] = {
      now.thread & ~kAtomic, now.epoch, now.clock, now.where};
}

}  // namespace

void race_access(const void* at, size_t bytes, Access kind, const Code& code) {
  if (!race_build()) return;
  const char* p = static_cast<const char*>(at);
  if (!current) {
    note("host-access",
         "host-access: host code touches device memory at " + text_of_where(number_of(code)));
    return;
  }
  const Thread& t = *current;
  const bool atomic = kind != Access::read && kind != Access::write;
  const Stamp now{t.id | (atomic ? kAtomic : 0), t.block->epoch, t.clock, number_of(code)};
  if (!inside(p, bytes)) {
    if (ended_owner(p)) return report(kMayHaveEnded, now, now);
    note("out-of-bounds",
         "out-of-bounds: " + text_of(now) + " " + (kind == Access::read ? "reads " : "writes ") +
             std::to_string(bytes) + " bytes outside every live buffer and shared array");
    return;
  }
  Block* owner = state().last_extent.owner;
  if (owner && owner != t.block) reach(*owner, now);
  const bool early = !t.waited && !in_shared_arena(p);
  const bool reads = kind == Access::read || kind == Access::atomic_read;
  if (early && !reads) report(kTooEarly, now, now);
  for_cells(p, bytes, [&](Cell& c, const char* q, int n, uint8_t mask) {
    if (early && reads && c.written_in >= state().chain) report(kTooEarly, now, {});
    visit(c, q, n, mask, kind, now);
  });
}

// A block's memory is there until its last thread ends, whichever thread knows of an access.
void race_thread_ends(const Thread& t) {
  Block& b = *t.block;
  const bool last = b.ended + 1 == run->threads_per_block;
  for (RemoteAccess& r : b.remote) {
    if (r.where && is_ordered(r.thread, r.epoch, r.clock)) r.where = 0;
    if (r.where && last) {
      const Stamp made{r.thread, r.epoch, r.clock, r.where};
      report(kMayHaveEnded, made, made);
    }
  }
}
void race_block_ends() {
  if (race_build()) state().last_extent_block = nullptr;
}

void race_copy_begins(void* dst, Site site) {
  if (!race_build()) return;
  race_access(dst, 16, Access::write, {nullptr, site});
  for_cells(static_cast<char*>(dst), 16, [](Cell& c, const char*, int, uint8_t) { c.copying = 1; });
}
void race_copy_ends(void* dst, Site site) {
  if (!race_build()) return;
  for_cells(static_cast<char*>(dst), 16, [](Cell& c, const char*, int, uint8_t) { c.copying = 0; });
  race_access(dst, 16, Access::write, {nullptr, site});
}

// Only bytes that look like poison need a note that they were written.
void race_written_outside(void* data, size_t bytes) {
  if (!race_build()) return;
  State& s = state();
  const char* p = static_cast<const char*>(data);
  size_t offset = size_t(p - arena_base());
  for (const size_t end = offset + bytes; offset < end; ++offset) {
    if (static_cast<unsigned char>(arena_base()[offset]) != 0xff) continue;
    Cell& word = s.words[offset / 4];
    word.written |= uint8_t(1u << offset % 4);
    if (word.split) s.bytes[offset].written = 1;
  }
}
void race_read_outside(const void* data, size_t bytes) {
  if (!race_build()) return;
  State& s = state();
  const char* p = static_cast<const char*>(data);
  size_t offset = size_t(p - arena_base());
  for (const size_t end = offset + bytes; offset + 4 <= end; offset += 4) {
    if (offset % 4 || !all_poison(arena_base() + offset, 4)) continue;
    const Cell& word = s.words[offset / 4];
    bool written = word.written == 15;
    if (word.split)
      for (size_t i = 0; i < 4; ++i) written = written || s.bytes[offset + i].written;
    if (!written)
      throw Finding("uninitialised",
                    "uninitialised: a copy or library call reads bytes that were never written, " +
                        std::to_string(arena_base() + offset - p) + " bytes into a range of " +
                        std::to_string(bytes));
  }
}

void forget_shadow(const void* p, size_t bytes) {
  if (!race_build()) return;
  State& s = state();
  const size_t offset = size_t(static_cast<const char*>(p) - arena_base());
  drop_pages(s.words + offset / 4, (bytes + 3) / 4 * sizeof(Cell));
  drop_pages(s.bytes + offset / 4 * 4, (bytes + 3) / 4 * 4 * sizeof(Cell));
}

void race_grid_begins() {
  if (!race_build()) return;
  State& s = state();
  ++s.launch;
  // A stream without a past has nothing that could still run.
  uint32_t& chain = s.chains[run->grid->stream];
  if (!run->grid->early_start || chain == 0) chain = s.launch;
  s.chain = chain;
  s.reported.clear();
  s.last_extent_block = nullptr;
  forget_order();
}

}  // namespace unroll::gpu_on_cpu
