// A worker thread that cuts the next chunks while the current one is computed.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "host/data/chunk.h"

namespace unroll {

// Chunks in order from (epoch, k) on, over the ends of epochs without end, up to `depth` ahead. The
// source must outlive it and is used by the worker alone until then. Where a chunk is taken, its
// memory comes back for a later one, so that nothing is allocated once the shapes have been seen.
class Prefetch {
 public:
  // Throws a data Error where the source has no chunk.
  Prefetch(ChunkSource& source, int64_t epoch, int64_t k, int depth = 2);
  ~Prefetch();  // stops the worker, also in the middle of the data
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  // Swaps the next chunk into `out`; waits where it is not ready. Rethrows, in its turn, what the
  // source threw; after that every call throws it again.
  void next(HostChunk& out);

 private:
  void work(int64_t epoch, int64_t k);

  ChunkSource& source_;
  const size_t depth_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<HostChunk> ready_;
  std::vector<HostChunk> spare_;  // memory to fill
  std::exception_ptr failure_;
  bool stop_ = false;
  std::thread worker_;
};

}  // namespace unroll
