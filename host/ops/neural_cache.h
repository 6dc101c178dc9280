// The continuous cache as an op with a memory of its own on the device: what the output layer read,
// and the word that followed. It takes no gradient. See kernels/heads/cache_pointer.h.
#pragma once

#include <vector>

#include "host/device/backend.h"
#include "host/memory/buffer.h"
#include "host/tape/tape.h"
#include "kernels/heads/cache_pointer.h"

namespace unroll {

class NeuralCache {
 public:
  // For chunks of up to max_tokens in one lane. Several settings are worked out side by side.
  NeuralCache(const Backend& backend, std::vector<CacheSetting> settings, int max_tokens);

  size_t settings() const { return settings_.size(); }
  // How many tokens a chunk may have for the products of one to stay within 64 MiB in f32.
  static int chunk_limit(const std::vector<CacheSetting>& settings);

  // Works out what the cache gives to each target and takes the chunk's pairs in; part of a chunk's
  // program. The memory is made at the first call, a measuring one, which says how wide rows are.
  void read_and_append(const Tape& tape, const View2& hidden, const View1& target);
  // The probabilities of the last chunk, [n,K], once the device is done with it; waits.
  std::vector<double> read(int64_t n) const;

 private:
  int64_t rows() const;
  const Backend& backend_;
  std::vector<CacheSetting> settings_;
  int max_tokens_;
  DType acc_ = DType::f32;
  Buffer memory_, ids_, seen_, p_, p_copy_;
};

}  // namespace unroll
