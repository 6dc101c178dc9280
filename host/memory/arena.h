// One slab of memory handed out in blocks, deterministically: the same sequence of requests and
// releases gives the same addresses, which is all that a captured graph needs.
//
// Best fit over a free list, blocks aligned to 256 bytes. While measuring, addresses are made up
// and only the high-water mark counts; the slab is then reserved for it. Blocks are reused in the
// order of one stream: what another reads is kept until they are joined (Tape::aside). On the CPU
// released blocks are filled with 0xff in debug builds, and in all of them with UNROLL_POISON set.
#pragma once

#include <cstddef>
#include <map>

#include "host/device/device.h"
#include "host/memory/buffer.h"

namespace unroll {

class Arena {
 public:
  static constexpr size_t kAlignment = 256;

  explicit Arena(const Device& device) : device_(device) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // From here on blocks have made-up addresses. No block may be alive.
  void begin_measuring();
  // Ends it and returns the bytes that the sequence needed.
  size_t end_measuring();
  // Says that a block of this size is for logits; the largest since measuring began.
  void note_logits(size_t bytes) { logits_ = bytes > logits_ ? bytes : logits_; }
  size_t logits() const { return logits_; }
  // Makes the slab at least this large; true if it moved, which invalidates graphs. No block may be
  // alive.
  bool reserve(size_t bytes);

  // Throws Error if the slab is too small: the sequence differs from the one measured.
  void* allocate(size_t bytes);
  void release(void* block) noexcept;

  size_t capacity() const { return slab_.bytes(); }
  size_t in_use() const { return in_use_; }

 private:
  char* base() const;
  Device device_;
  Buffer slab_;
  bool measuring_ = false;
  size_t limit_ = 0;  // end of the address space in use
  size_t high_water_ = 0, in_use_ = 0, logits_ = 0;
  std::map<size_t, size_t> free_;   // offset -> bytes, neighbours merged
  std::map<size_t, size_t> taken_;  // offset -> bytes
};

}  // namespace unroll
