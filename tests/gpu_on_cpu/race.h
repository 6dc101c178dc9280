// What the parts of the race detector share: what a thread knows to have happened before.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace unroll::gpu_on_cpu {

struct Knowledge {
  struct Entry {
    uint32_t thread, clock;  // accesses of this thread up to this clock
    uint32_t block, epoch;   // where the thread was then
  };
  std::vector<uint32_t> blocks;  // by block: accesses of lower epochs
  std::vector<Entry> threads;    // sorted by thread; only those that `blocks` does not imply

  bool covers(uint32_t block, uint32_t epoch, uint32_t thread, uint32_t clock) const {
    if (block < blocks.size() && epoch < blocks[block]) return true;
    const auto it = std::lower_bound(threads.begin(), threads.end(), thread,
                                     [](const Entry& e, uint32_t id) { return e.thread < id; });
    return it != threads.end() && it->thread == thread && clock <= it->clock;
  }
  void raise_block(uint32_t block, uint32_t epoch) {
    if (block >= blocks.size()) blocks.resize(block + 1);
    blocks[block] = std::max(blocks[block], epoch);
  }
  void join(const Knowledge& o) {
    if (o.blocks.size() > blocks.size()) blocks.resize(o.blocks.size());
    for (size_t i = 0; i < o.blocks.size(); ++i) blocks[i] = std::max(blocks[i], o.blocks[i]);
    std::vector<Entry> all;
    all.reserve(threads.size() + o.threads.size());
    auto add = [&](const Entry& e) {
      if (e.block < blocks.size() && e.epoch < blocks[e.block]) return;
      if (!all.empty() && all.back().thread == e.thread) {
        if (e.clock > all.back().clock) all.back() = e;
      } else {
        all.push_back(e);
      }
    };
    size_t i = 0, j = 0;
    while (i < threads.size() || j < o.threads.size()) {
      const bool left =
          j == o.threads.size() || (i < threads.size() && threads[i].thread <= o.threads[j].thread);
      add(left ? threads[i++] : o.threads[j++]);
    }
    threads.swap(all);
  }
};

// order.cc: whether what `thread` of the grid did then is ordered before what the current thread does
// now; and the start of another grid.
bool is_ordered(uint32_t thread, uint32_t epoch, uint32_t clock);
// Whether the current thread knows that this block has begun.
bool has_heard_of(uint32_t block);
void forget_order();

// Addresses in the program as 31-bit numbers.
size_t program_offset(const void* code);
const void* program_address(size_t offset);
// Makes the bytes zero, giving whole pages back to the system.
void drop_pages(void* p, size_t bytes);

}  // namespace unroll::gpu_on_cpu
