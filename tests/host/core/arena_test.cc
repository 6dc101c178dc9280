// The arena: alignment, best fit, merging, measuring, determinism.
#include "host/memory/arena.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <vector>

#include "host/memory/tensor.h"

namespace unroll::test {
namespace {

constexpr size_t K = Arena::kAlignment;

size_t offset(const void* a, const void* base) {
  return size_t(static_cast<const char*>(a) - static_cast<const char*>(base));
}

TEST(ArenaTest, MeasuresWhatTheSequenceNeedsAndNoMore) {
  Arena arena(Device::cpu(1));
  const auto sequence = [&] {
    void* a = arena.allocate(3 * K);
    void* b = arena.allocate(1);  // rounded up to K
    arena.release(a);
    void* c = arena.allocate(2 * K);  // into a's place
    void* d = arena.allocate(K);      // the rest of it
    void* e = arena.allocate(K + 1);  // 2 K at the end
    for (void* block : {b, c, d, e}) arena.release(block);
  };
  arena.begin_measuring();
  sequence();
  EXPECT_EQ(arena.end_measuring(), 6 * K);
  EXPECT_TRUE(arena.reserve(6 * K));
  EXPECT_FALSE(arena.reserve(5 * K));
  EXPECT_EQ(arena.capacity(), 6 * K);
  sequence();
  EXPECT_EQ(arena.in_use(), 0u);
  void* all = arena.allocate(6 * K);  // everything merged again
  arena.release(all);
  EXPECT_THROW(arena.allocate(6 * K + 1), Error);
}

TEST(ArenaTest, TakesTheSmallestHoleThatFits) {
  Arena arena(Device::cpu(1));
  arena.reserve(16 * K);
  std::vector<void*> blocks;
  for (size_t n : {4, 1, 2, 1, 3, 1, 4}) blocks.push_back(arena.allocate(n * K));
  void* base = blocks[0];
  for (int i : {0, 2, 4}) arena.release(blocks[size_t(i)]);  // holes of 4, 2, 3
  EXPECT_EQ(offset(arena.allocate(2 * K), base), 5 * K);
  EXPECT_EQ(offset(arena.allocate(2 * K), base), 8 * K);  // 3 is the smaller of 4 and 3
  EXPECT_EQ(offset(arena.allocate(4 * K), base), 0u);
  EXPECT_EQ(offset(arena.allocate(K), base), 10 * K);
  EXPECT_THROW(arena.allocate(1), Error);
}

TEST(ArenaTest, MergesWithBothNeighbours) {
  Arena arena(Device::cpu(1));
  arena.reserve(3 * K);
  void *a = arena.allocate(K), *b = arena.allocate(K), *c = arena.allocate(K);
  arena.release(a);
  arena.release(c);
  arena.release(b);
  EXPECT_EQ(arena.allocate(3 * K), a);
}

TEST(ArenaTest, SameSequenceSameAddresses) {
  const auto addresses = [](Arena& arena) {
    std::mt19937 random(5);
    std::vector<void*> alive, all;
    for (int i = 0; i < 300; ++i) {
      if (alive.size() > 6 || (!alive.empty() && random() % 3 == 0)) {
        const size_t at = random() % alive.size();
        arena.release(alive[at]);
        alive.erase(alive.begin() + long(at));
      } else {
        alive.push_back(arena.allocate(random() % (9 * K)));
        all.push_back(alive.back());
      }
    }
    for (void* block : alive) arena.release(block);
    return all;
  };
  Arena arena(Device::cpu(1));
  arena.begin_measuring();
  addresses(arena);
  arena.reserve(arena.end_measuring());
  const std::vector<void*> first = addresses(arena);
  EXPECT_EQ(addresses(arena), first);
  for (void* block : first) EXPECT_EQ(offset(block, first[0]) % K, 0u);
}

TEST(ArenaTest, RefusesToMeasureOrMoveWhileABlockIsAlive) {
  Arena arena(Device::cpu(1));
  arena.reserve(2 * K);
  void* block = arena.allocate(1);
  EXPECT_THROW(arena.begin_measuring(), Error);
  EXPECT_THROW(arena.reserve(4 * K), Error);
  arena.release(block);
}

TEST(ArenaTest, ReleasedBlocksArePoisonedWhereTestsAskForIt) {
  Arena arena(Device::cpu(1));
  arena.reserve(K);
  const auto block = static_cast<unsigned char*>(arena.allocate(K));
  block[0] = block[K - 1] = 1;
  arena.release(block);
  const unsigned char left = std::getenv("UNROLL_POISON") ? 0xff : 1;
  EXPECT_EQ(block[0], left);
  EXPECT_EQ(block[K - 1], left);
}

TEST(TensorTest, GivesItsBlockBackWithTheLastHandle) {
  Arena arena(Device::cpu(1));
  arena.reserve(64 * K);
  Tensor kept;
  {
    const Tensor t(arena, DType::f32, {3, 5, 7});
    EXPECT_EQ(arena.in_use(), 2 * K);  // 420 bytes
    kept = t.slice(1, 2);
  }
  EXPECT_EQ(arena.in_use(), 2 * K);
  EXPECT_EQ(kept.extent(0), 2);
  kept = Tensor();
  EXPECT_EQ(arena.in_use(), 0u);
  const Tensor padded(arena, DType::bf16, {3, 5});
  EXPECT_EQ(padded.view<2>().ld, 8);
}

}  // namespace
}  // namespace unroll::test
