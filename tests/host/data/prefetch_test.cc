// The worker thread: order, ends of epochs, exceptions, stopping in the middle.
#include "host/data/prefetch.h"

#include <atomic>
#include <chrono>
#include <set>

#include "tests/host/data/scratch_folder.h"

namespace unroll::test {
namespace {

// Three chunks in even epochs, two in odd; fails at one place.
class Numbered : public ChunkSource {
 public:
  Numbered(int64_t fail_epoch, int64_t fail_k) : fail_epoch_(fail_epoch), fail_k_(fail_k) {}
  int64_t chunks(int64_t epoch) const override { return epoch % 2 == 0 ? 3 : 2; }
  void fill(int64_t epoch, int64_t k, HostChunk& out) override {
    if (epoch == fail_epoch_ && k == fail_k_) throw Error(ErrorKind::data, "the text ran out");
    out.input.assign(1000, static_cast<int32_t>(10 * epoch + k));
    out.epoch = epoch;
    out.index = k;
    ++filled;
    buffers.insert(out.input.data());
  }
  int max_T() const override { return 1000; }
  int B() const override { return 1; }

  std::atomic<int> filled = 0;
  std::set<const int32_t*> buffers;  // read after the worker is gone

 private:
  int64_t fail_epoch_, fail_k_;
};

TEST(Prefetch, GoesOnOverTheEndsOfEpochs) {
  Numbered source(-1, -1);
  Prefetch prefetch(source, 0, 1);
  HostChunk chunk;
  for (const int32_t expected : {1, 2, 10, 11, 20, 21, 22, 30}) {
    prefetch.next(chunk);
    EXPECT_EQ(chunk.input, std::vector<int32_t>(1000, expected));
    EXPECT_EQ(chunk.epoch * 10 + chunk.index, expected);
  }
}

TEST(Prefetch, StartsInTheNextEpochAtTheEndOfOne) {
  Numbered source(-1, -1);
  Prefetch prefetch(source, 0, 3);
  HostChunk chunk;
  prefetch.next(chunk);
  EXPECT_EQ(chunk.input[0], 10);
}

TEST(Prefetch, ReadsAtMostDepthAhead) {
  Numbered source(-1, -1);
  Prefetch prefetch(source, 0, 0, 2);
  HostChunk chunk;
  prefetch.next(chunk);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (source.filled < 3 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(source.filled, 3);
}

TEST(Prefetch, ReusesMemory) {
  Numbered source(-1, -1);
  HostChunk chunk;
  {
    Prefetch prefetch(source, 0, 0, 2);
    for (int i = 0; i < 500; ++i) prefetch.next(chunk);
  }
  EXPECT_LE(source.buffers.size(), 5u);  // two ready, one being filled, the caller's, one spare
}

TEST(Prefetch, ErrorsComeInTheirTurnAndStay) {
  Numbered source(1, 1);
  Prefetch prefetch(source, 0, 1);
  HostChunk chunk;
  for (const int32_t expected : {1, 2, 10}) {
    prefetch.next(chunk);
    EXPECT_EQ(chunk.input[0], expected);
  }
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(error_of(ErrorKind::data, [&] { prefetch.next(chunk); }), "the text ran out");
  }
}

TEST(Prefetch, StopsCleanlyAtAnyMoment) {
  for (int taken = 0; taken < 200; ++taken) {
    Numbered source(taken % 7, 1);
    Prefetch prefetch(source, 0, 0, 1 + taken % 3);
    HostChunk chunk;
    for (int i = 0; i < taken % 2; ++i) prefetch.next(chunk);
  }
}

TEST(Prefetch, RefusesASourceWithoutChunks) {
  class Empty : public Numbered {
   public:
    Empty() : Numbered(-1, -1) {}
    int64_t chunks(int64_t) const override { return 0; }
  } source;
  error_of(ErrorKind::data, [&] { Prefetch(source, 0, 0); });
}

}  // namespace
}  // namespace unroll::test
