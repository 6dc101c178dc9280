#include "host/memory/arena.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>

#include "kernels/base/error.h"

namespace unroll {
namespace {

// Measuring hands out addresses from here on; they are never dereferenced, and not null, because a
// null view means "not given".
constexpr uintptr_t kMadeUpBase = Arena::kAlignment;

#if defined(NDEBUG)
const bool kPoison = std::getenv("UNROLL_POISON") != nullptr;
#else
constexpr bool kPoison = true;
#endif

size_t align_up(size_t bytes) {
  return (std::max<size_t>(bytes, 1) + Arena::kAlignment - 1) / Arena::kAlignment *
         Arena::kAlignment;
}

}  // namespace

char* Arena::base() const {
  return measuring_ ? reinterpret_cast<char*>(kMadeUpBase) : slab_.as<char>();
}

void Arena::begin_measuring() {
  UNROLL_CHECK(taken_.empty(), "arena: a block is alive where measuring begins");
  measuring_ = true;
  limit_ = SIZE_MAX / 2;
  high_water_ = logits_ = 0;
  free_ = {{0, limit_}};
}

size_t Arena::end_measuring() {
  UNROLL_CHECK(taken_.empty(), "arena: a block is alive where measuring ends");
  measuring_ = false;
  limit_ = slab_.bytes() / kAlignment * kAlignment;
  free_.clear();
  if (limit_) free_ = {{0, limit_}};
  return high_water_;
}

bool Arena::reserve(size_t bytes) {
  UNROLL_CHECK(taken_.empty(), "arena: a block is alive where the slab is reserved");
  if (bytes <= slab_.bytes()) return false;
  // The old slab goes first, so that both need not fit at once; if the new one does not, none is
  // left.
  slab_ = Buffer();
  free_.clear();
  limit_ = 0;
  slab_ = Buffer(device_, MemoryKind::device, align_up(bytes));
  limit_ = slab_.bytes();
  free_ = {{0, limit_}};
  return true;
}

void* Arena::allocate(size_t bytes) {
  const size_t wanted = align_up(bytes);
  // The block at the end of the slab counts as endless, as it is while measuring, so that the
  // choice does not depend on how large the slab is.
  const auto room = [&](auto block) {
    return block->first + block->second == limit_ ? SIZE_MAX : block->second;
  };
  auto best = free_.end();
  for (auto it = free_.begin(); it != free_.end(); ++it)
    if (it->second >= wanted && (best == free_.end() || room(it) < room(best))) best = it;
  if (best == free_.end())
    throw Error("arena: " + std::to_string(bytes) + " bytes asked for with " +
                std::to_string(in_use_) + " of " + std::to_string(limit_) +
                " in use; the step asks for more than the measuring run did");
  const size_t offset = best->first, rest = best->second - wanted;
  free_.erase(best);
  if (rest) free_[offset + wanted] = rest;
  taken_[offset] = wanted;
  in_use_ += wanted;
  high_water_ = std::max(high_water_, offset + wanted);
  return base() + offset;
}

void Arena::release(void* block) noexcept {
  const auto it = taken_.find(size_t(static_cast<char*>(block) - base()));
  if (it == taken_.end()) return;
  size_t offset = it->first, bytes = it->second;
  if (kPoison && !measuring_ && device_.kind() == DeviceKind::cpu) std::memset(block, 0xff, bytes);
  taken_.erase(it);
  in_use_ -= bytes;
  const auto after = free_.lower_bound(offset);
  if (after != free_.begin()) {
    const auto before = std::prev(after);
    if (before->first + before->second == offset) {
      offset = before->first;
      bytes += before->second;
      free_.erase(before);
    }
  }
  if (after != free_.end() && after->first == offset + bytes) {
    bytes += after->second;
    free_.erase(after);
  }
  free_[offset] = bytes;
}

}  // namespace unroll
