// Atomics, accesses with an order, and asynchronous copies.
#include <algorithm>

#include "tests/gpu_on_cpu/internal.h"

namespace unroll::gpu_on_cpu {
namespace {

// Where other threads may come in between in orders that are not greedy.
void may_switch() {
  if (random_order() && run->random() % 4 == 0) yield_ready();
}

void check_visible(const void* p, size_t bytes, const char* what, Site site) {
  const Extent e = extent_of(p);
  const char* from = static_cast<const char*>(p);
  const Block* ended = e.data ? nullptr : ended_owner(p);
  if (ended)
    fail("exited-block", "exited-block: " + text_of(*current) + ": " + what + " at " +
                             text_of(site) + " in the shared memory of block " +
                             std::to_string(ended->number) + ", which has ended");
  if (!e.data || from + bytes > e.data + e.bytes)
    fail("out-of-bounds", "out-of-bounds: " + text_of(*current) + ": " + what + " at " +
                              text_of(site) + " of " + std::to_string(bytes) +
                              " bytes outside every live buffer and shared array");
}

void do_copy(const AsyncCopy& c) {
  race_copy_ends(c.dst, c.site);
  copy_bytes(c.dst, c.src, size_t(c.bytes));
  if (c.bytes < 16) fill_bytes(c.dst + c.bytes, 0, size_t(16 - c.bytes));
}

}  // namespace

void check_own(const void* p, const char* what, Site site) {
  const Block* owner = current->block->cluster ? extent_of(p).owner : nullptr;
  if (owner && owner != current->block)
    fail("cluster-map", "cluster-map: " + text_of(*current) + ": " + what + " at " + text_of(site) +
                            " reaches only its own block's shared memory, not block " +
                            std::to_string(owner->number) + "'s");
}

void fail_aligned(const void* p, int bytes, Site site) {
  fail("misaligned", "misaligned: " + (current ? text_of(*current) : std::string("the host")) +
                         ": access of " + std::to_string(bytes) + " bytes at " + text_of(site) +
                         " to an address that is " +
                         std::to_string(reinterpret_cast<uintptr_t>(p) % uintptr_t(bytes)) +
                         " bytes past a multiple of that");
}

void atomic_begin(void* p, void* old, int bytes, Site site, Ordering ordering) {
  may_switch();
  check_aligned(p, bytes, site);
  check_visible(p, size_t(bytes), "atomic", site);
  race_access(p, size_t(bytes), Access::atomic_update, {nullptr, site});
  const bool ordered = ordering == Ordering::release && !site_is_off("red_release_add", site);
  race_acquired(p, false);
  race_released(p, Publish::update, ordered);
  copy_bytes(old, p, size_t(bytes));
  ++run->progress;
}
void atomic_end(void* p, const void* desired, int bytes) { copy_bytes(p, desired, size_t(bytes)); }

void ordered_load(const void* p, void* value, int bytes, Ordering ordering, bool poll, Site site) {
  may_switch();
  check_aligned(p, bytes, site);
  check_visible(p, size_t(bytes), "load", site);
  const bool ordered = ordering == Ordering::acquire && !site_is_off("load_acquire", site);
  Thread& t = *current;
  const auto load = [&] {
    // A 16-byte load is four loads: in random orders others may write in between.
    for (int i = 0; i < bytes; i += bytes < 16 ? bytes : 4) {
      if (i) may_switch();
      copy_bytes(static_cast<char*>(value) + i, static_cast<const char*>(p) + i,
                 size_t(bytes < 16 ? bytes : 4));
    }
  };
  load();
  if (poll) {
    std::array<uint32_t, 4> seen{};
    copy_bytes(seen.data(), value, size_t(bytes));
    if (t.polled == p && t.polled_value == seen) {
      wait_polling(site);
      load();
      copy_bytes(seen.data(), value, size_t(bytes));
    }
    if (t.polled != p || t.polled_value != seen) ++run->progress;
    t.polled = p;
    t.polled_value = seen;
  }
  race_access(p, size_t(bytes), Access::atomic_read, {nullptr, site});
  race_acquired(p, ordered);
}

void ordered_store(void* p, const void* value, int bytes, Ordering ordering, Site site) {
  may_switch();
  check_aligned(p, bytes, site);
  check_visible(p, size_t(bytes), "store", site);
  const bool ordered = ordering == Ordering::release && !site_is_off("store_release", site);
  race_access(p, size_t(bytes), Access::atomic_write, {nullptr, site});
  race_released(p, Publish::store, ordered);
  ++run->progress;
  if (bytes == 16 && run->random() % 4 == 0) {
    // Torn: those who wait for the value see some of its words before the others.
    const size_t first = 4 * (1 + run->random() % 3);
    copy_bytes(p, value, first);
    wake_pollers();
    wait_for_turn(site);
    copy_bytes(static_cast<char*>(p) + first, static_cast<const char*>(value) + first, 16 - first);
    ++run->progress;
    return;
  }
  copy_bytes(p, value, size_t(bytes));
}

// Not through instrumented code, so that reports name the caller's line.
void vector_load(const void* p, void* value, int bytes, Site site) {
  check_aligned(p, bytes, site);
  if (in_arena(p)) {
    check_visible(p, size_t(bytes), "vector load", site);
    race_access(p, size_t(bytes), Access::read, {nullptr, site});
  }
  copy_bytes(value, p, size_t(bytes));
}
void vector_store(void* p, const void* value, int bytes, Site site) {
  check_aligned(p, bytes, site);
  if (in_arena(p)) {
    check_visible(p, size_t(bytes), "vector store", site);
    race_access(p, size_t(bytes), Access::write, {nullptr, site});
  }
  copy_bytes(p, value, size_t(bytes));
}

void fence(Site site) {
  if (site_is_off("fence", site)) return;
  race_fence();
}

void async_copy16(void* dst, const void* src, int bytes, Site site) {
  check_aligned(dst, 16, site);
  check_aligned(src, 16, site);
  if (!in_shared_arena(dst) || in_shared_arena(src))
    fail("out-of-bounds", "out-of-bounds: cp_async16 at " + text_of(site) +
                              " copies from device memory to shared memory only");
  if (bytes < 0 || bytes > 16)
    fail("out-of-bounds", "out-of-bounds: cp_async16 at " + text_of(site) + " of " +
                              std::to_string(bytes) + " bytes; at most 16");
  check_visible(dst, 16, "cp_async16 destination", site);
  check_own(dst, "cp_async16", site);
  if (bytes) {
    check_visible(src, size_t(bytes), "cp_async16 source", site);
    race_access(src, size_t(bytes), Access::read, {nullptr, site});
  }
  const AsyncCopy copy{static_cast<char*>(dst), static_cast<const char*>(src), bytes, -1, site};
  race_copy_begins(dst, site);
  // The copy may be done at any time up to the wait; the last moment finds most mistakes.
  current->copies.push_back(copy);
  if (random_order() && run->random() % 4 == 0) {
    copy_bytes(copy.dst, copy.src, size_t(bytes));
    if (bytes < 16) fill_bytes(copy.dst + bytes, 0, size_t(16 - bytes));
  }
}

void async_commit() {
  for (AsyncCopy& c : current->copies)
    if (c.group < 0) c.group = current->groups;
  ++current->groups;
}

void finish_copies(Thread& t, int groups_left) {
  auto done = [&](const AsyncCopy& c) { return c.group >= 0 && c.group < t.groups - groups_left; };
  for (const AsyncCopy& c : t.copies)
    if (done(c)) do_copy(c);
  std::erase_if(t.copies, done);
}

void async_wait(int groups_left, Site site) {
  if (site_is_off("cp_async_wait", site)) return;
  finish_copies(*current, groups_left);
}

}  // namespace unroll::gpu_on_cpu
