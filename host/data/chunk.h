// One chunk of training or evaluation input on the host, and the interface of whatever cuts chunks.
#pragma once

#include <cstdint>
#include <vector>

namespace unroll {

// T steps of B sequences side by side, time-major. Element (t, b) is at [t * B + b].
struct HostChunk {
  int T = 0, B = 0;
  std::vector<int32_t> input;    // [T,B] token ids; padding holds a valid id
  std::vector<int32_t> target;   // [T,B] token ids, -1 where nothing is scored
  std::vector<int32_t> lengths;  // [B] steps of each sequence (0: empty lane); empty vector: all T
  std::vector<int32_t> keep;     // [B] 1: carry the state in, 0: start from zero
  int64_t tokens = 0;            // targets that are scored
  bool first_of_epoch = false;
  int64_t epoch = 0;
  int64_t index = 0;  // chunk within the epoch
};

// Chunks by number: a position in the data is just (epoch, k), whatever was read before, so that a
// resumed run goes on exactly where it stopped. Used by one thread at a time.
class ChunkSource {
 public:
  virtual ~ChunkSource() = default;
  virtual int64_t chunks(int64_t epoch) const = 0;
  // Fills every field of `out`; 0 <= k < chunks(epoch). Reuses the memory `out` already has.
  virtual void fill(int64_t epoch, int64_t k, HostChunk& out) = 0;
  // Largest shape any chunk has, for reserving memory.
  virtual int max_T() const = 0;
  virtual int B() const = 0;
};

}  // namespace unroll
