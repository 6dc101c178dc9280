// Shared memory: the objects and carved pieces of a block, and where those of the other blocks of
// its cluster are.
#include "tests/gpu_on_cpu/internal.h"

namespace unroll::gpu_on_cpu {

void check_shared_bytes(const Block& b, Site site);  // limits.cc

static constexpr size_t kMaxPieces = 64;  // of dynamic shared memory

static SharedObject make_shared(size_t bytes, const void* tag, const char* name, Site site) {
  const size_t reserved = round_up(bytes, 256) + kGap;
  char* data = take_shared(reserved);
  unguard(data, bytes);
  guard(data + bytes, reserved - bytes);
  return {data, bytes, tag, name, site, reserved};
}

static char* object_in(Block& b, const void* tag, size_t bytes, const char* name, Site site) {
  for (const SharedObject& s : b.shared)
    if (s.tag == tag) return s.data;
  b.shared.push_back(make_shared(bytes, tag, name, site));
  b.static_bytes += round_up(bytes, 16);
  check_shared_bytes(b, site);
  return b.shared.back().data;
}

void* shared_object(const void* tag, size_t bytes, const char* name, Site site) {
  return object_in(this_block(), tag, bytes, name, site);
}

static void make_dynamic(Block& b) {
  if (b.dynamic.data) return;
  const size_t bytes = run->grid->shared_bytes;
  b.dynamic = make_shared(bytes + kMaxPieces * kGap, nullptr, "dynamic shared memory", {});
  // Until it is carved, the bytes asked for are one object.
  guard(b.dynamic.data + bytes, b.dynamic.bytes - bytes);
  b.shared.push_back({b.dynamic.data, bytes, &b, "dynamic shared memory", {}, 0});
}
unsigned char* dynamic_shared() {
  make_dynamic(this_block());
  return reinterpret_cast<unsigned char*>(this_block().dynamic.data);
}

static char* piece_in(Block& b, char* at, size_t bytes, Site site) {
  const size_t offset = size_t(at - b.dynamic.data), taken = round_up(bytes, 16);
  for (const SharedObject& s : b.shared)
    if (s.data == at && s.tag != &b) {
      if (s.bytes == bytes) return at;
      fail("out-of-bounds", "out-of-bounds: " + text_of(*current) + " carves " +
                                std::to_string(bytes) + " bytes at " + text_of(site) +
                                " where another thread of its block or cluster carved " +
                                std::to_string(s.bytes) + " at " + text_of(s.site));
    }
  if (!b.dynamic.data || offset != b.carve_end)
    fail("out-of-bounds", "out-of-bounds: " + text_of(*current) + " carves at " + text_of(site) +
                              " from a pointer that is not the end of the last piece");
  if (b.carved_bytes + taken > run->grid->shared_bytes)
    fail("limit", "limit: " + text_of(*current) + " carves " +
                      std::to_string(b.carved_bytes + taken) +
                      " bytes of dynamic shared memory at " + text_of(site) +
                      ", the launch asked for " + std::to_string(run->grid->shared_bytes));
  if (b.shared.size() > kMaxPieces) fail("limit", "limit: more than 64 pieces of shared memory");
  if (b.carve_end == 0) {
    std::erase_if(b.shared, [&](const SharedObject& s) { return s.tag == &b; });
    guard(b.dynamic.data, b.dynamic.bytes);
  }
  b.carved_bytes += taken;
  b.carve_end += taken + kGap;
  unguard(at, bytes);
  b.shared.push_back({at, bytes, at, "a piece of dynamic shared memory", site, 0});
  return at;
}

void* carve_piece(unsigned char*& raw, size_t bytes, Site site) {
  char* at = reinterpret_cast<char*>(raw);
  raw += round_up(bytes, 16) + kGap;
  return piece_in(this_block(), at, bytes, site);
}

// What `s` of block `from` is in block `to`, made there if its own threads have not come to it.
static char* counterpart(const Block& from, const SharedObject& s, Block& to, Site site) {
  if (&to == &from) return s.data;
  if (to.over) {
    for (const SharedObject& there : to.shared)
      if (s.reserved
              ? there.tag == s.tag
              : !there.reserved && there.data - to.dynamic.data == s.data - from.dynamic.data)
        return there.data;
    fail("exited-block", "exited-block: " + text_of(*current) + " maps shared memory of block " +
                             std::to_string(to.number) + " at " + text_of(site) +
                             ", which has ended");
  }
  if (s.reserved) return object_in(to, s.tag, s.bytes, s.name, s.site);
  make_dynamic(to);
  if (s.tag == &from) return to.dynamic.data;
  // Its pieces are those that this block has carved, one after the other.
  for (size_t i = 0; i < from.shared.size(); ++i) {
    const SharedObject& piece = from.shared[i];
    if (piece.reserved) continue;
    char* at = to.dynamic.data + (piece.data - from.dynamic.data);
    piece_in(to, at, piece.bytes, piece.site);
    if (piece.data == s.data) return at;
  }
  return nullptr;
}

void* cluster_map(const void* own, int rank, Site site) {
  Block& b = this_block();
  const auto refuse = [&](const std::string& why) {
    fail("cluster-map", "cluster-map: " + text_of(*current) + " at " + text_of(site) + ": " + why);
  };
  if (rank < 0 || rank >= int(run->grid->cluster))
    refuse("block " + std::to_string(rank) + " of a cluster of " +
           std::to_string(run->grid->cluster));
  const char* at = static_cast<const char*>(own);
  for (const SharedObject& s : b.shared) {
    if (at < s.data || (at >= s.data + s.bytes && at != s.data)) continue;
    if (!b.cluster) return const_cast<char*>(at);
    const ptrdiff_t offset = at - s.data;
    return counterpart(b, s, *b.cluster->blocks[size_t(rank)], site) + offset;
  }
  refuse("the pointer is not in the shared memory of its own block");
  return nullptr;
}

void close_shared(Block& b) {
  for (const SharedObject& s : b.shared) guard(s.data, s.bytes);
}

void release_shared(Block& b) {
  const SharedObject *broken = nullptr, *late = nullptr;
  for (const SharedObject& s : b.shared) {
    if (!untouched(s.data + s.bytes, kGap)) broken = &s;
    if (b.over && b.cluster && !untouched(s.data, s.bytes)) late = &s;
    if (s.reserved) give_shared(s.data, s.reserved);
  }
  if (b.dynamic.data) give_shared(b.dynamic.data, b.dynamic.reserved);
  Finding finding("out-of-bounds", "");
  if (broken)
    finding =
        Finding("out-of-bounds", "out-of-bounds: in block " + text_of(b.index) +
                                     " the guarded gap behind " + broken->name + " (declared at " +
                                     text_of(broken->site) + ") was written");
  if (late)
    finding = Finding("exited-block", std::string("exited-block: ") + late->name +
                                          " (declared at " + text_of(late->site) + ") of block " +
                                          text_of(b.index) + " was written after its end");
  b.shared.clear();
  b.dynamic = {};
  if (broken || late) throw finding;
}

Extent extent_of(const void* p) {
  const char* at = static_cast<const char*>(p);
  if (in_shared_arena(p)) {
    if (!current) return {};
    const auto extent_in = [&](Block& b) -> Extent {
      for (const SharedObject& s : b.shared)
        if (at >= s.data && at < s.data + s.bytes) return {s.data, s.bytes, &b};
      return {};
    };
    Block& mine = *current->block;
    Extent e = extent_in(mine);
    if (!e.data && mine.cluster)
      for (Block* other : mine.cluster->blocks)
        if (!e.data && !other->over) e = extent_in(*other);
    return e;
  }
  const DeviceBuffer b = find_device_buffer(p);
  return {b.data, b.bytes};
}

const Block* ended_owner(const void* p) {
  if (!current || !current->block->cluster) return nullptr;
  const char* at = static_cast<const char*>(p);
  for (const Block* other : current->block->cluster->blocks)
    for (const SharedObject& s : other->shared)
      if (other->over && at >= s.data && at < s.data + s.bytes) return other;
  return nullptr;
}

}  // namespace unroll::gpu_on_cpu
