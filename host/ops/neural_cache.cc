// The memory of a continuous cache, and the kernel that reads it.
#include "host/ops/neural_cache.h"

#include <algorithm>

namespace unroll {
namespace {

constexpr int64_t kProducts = int64_t(1) << 24;  // of a chunk with the ring, at most

int64_t largest_window(const std::vector<CacheSetting>& settings) {
  int64_t largest = 1;
  for (const CacheSetting& s : settings) largest = std::max(largest, s.window);
  return largest;
}

}  // namespace

NeuralCache::NeuralCache(const Backend& backend, std::vector<CacheSetting> settings, int max_tokens)
    : backend_(backend), settings_(std::move(settings)), max_tokens_(max_tokens) {}

int64_t NeuralCache::rows() const { return largest_window(settings_) + max_tokens_; }

int NeuralCache::chunk_limit(const std::vector<CacheSetting>& settings) {
  // N (W + N) <= kProducts holds for N = kProducts / 2W where N <= W, and for N = 2048 below.
  return int(std::clamp<int64_t>(kProducts / (2 * largest_window(settings)), 16, 2048));
}

void NeuralCache::read_and_append(const Tape& tape, const View2& hidden, const View1& target) {
  const int64_t N = hidden.n[0], D = hidden.n[1], R = rows(), K = int64_t(settings_.size());
  // bf16 rows start at multiples of 16 bytes, as everywhere.
  const int64_t ld = tape.act() == DType::bf16 ? (D + 7) / 8 * 8 : D;
  if (!memory_) {
    acc_ = tape.acc();
    const auto make = [&](size_t bytes) {
      Buffer b(backend_.device(), MemoryKind::device, bytes);
      backend_.stream().fill_zero(b.data(), bytes);
      return b;
    };
    memory_ = make(size_t(R * ld) * size_of(tape.act()));
    ids_ = make(size_t(R) * sizeof(int32_t));
    seen_ = make(sizeof(uint64_t));
    p_ = make(size_t(max_tokens_ * K) * size_of(acc_));
    p_copy_ = Buffer(backend_.device(), MemoryKind::pinned, p_.bytes());
  }
  View2 memory = view_of(memory_.data(), tape.act(), R, D);
  memory.ld = ld;
  Tensor holder;
  const Scratch scratch = tape.scratch(holder, cache_pointer_scratch_bytes(tape.act(), N, R));
  cache_pointer(tape.exec(), {.p = view_of(p_.data(), acc_, N, K),
                              .memory = memory,
                              .ids = view_of(ids_.as<int32_t>(), R),
                              .seen = view_of(seen_.as<uint64_t>(), 1),
                              .h = hidden,
                              .target = target,
                              .settings = settings_.data(),
                              .scratch = scratch});
}

std::vector<double> NeuralCache::read(int64_t n) const {
  const int64_t count = n * int64_t(settings_.size());
  backend_.stream().copy(p_copy_.data(), p_.data(), size_t(count) * size_of(acc_));
  backend_.stream().synchronize();
  std::vector<double> values(static_cast<size_t>(count));
  if (acc_ == DType::f64)
    std::copy_n(p_copy_.as<double>(), count, values.begin());
  else
    std::copy_n(p_copy_.as<float>(), count, values.begin());
  return values;
}

}  // namespace unroll
