// The device-wide algorithms on the CPU.
#include <algorithm>
#include <cstdint>

#include "kernels/base/device_algorithms.h"

namespace unroll::cpu {
namespace {

struct Pairs {
  uint32_t* keys;
  uint32_t* values;
};

// One stable counting pass over the bits `mask << shift` of the keys.
void counting_pass(const Pairs& from, const Pairs& to, int64_t N, int shift, uint32_t mask) {
  int64_t first[256] = {};
  for (int64_t i = 0; i < N; ++i) ++first[from.keys[i] >> shift & mask];
  int64_t sum = 0;
  for (int64_t& f : first) {
    const int64_t count = f;
    f = sum;
    sum += count;
  }
  for (int64_t i = 0; i < N; ++i) {
    const int64_t at = first[from.keys[i] >> shift & mask]++;
    to.keys[at] = from.keys[i];
    to.values[at] = from.values[i];
  }
}

}  // namespace

// Radix sort, least significant byte first; the passes alternate between scratch and output so that
// the last one lands in the output.
void sort_pairs(const Exec&, const SortPairs& a) {
  const int64_t N = a.keys_in.n[0];
  const auto u32 = [](void* p) { return static_cast<uint32_t*>(p); };
  const Pairs out = {u32(a.keys_out.data), u32(a.values_out.data)};
  const Pairs spare = {u32(a.scratch.data), u32(a.scratch.data) + N};
  Pairs from = {u32(a.keys_in.data), u32(a.values_in.data)};
  const int passes = std::max(1, (a.key_bits + 7) / 8);
  for (int pass = 0; pass < passes; ++pass) {
    const Pairs to = (passes - pass) % 2 ? out : spare;
    const int bits = std::min(8, a.key_bits - 8 * pass);
    counting_pass(from, to, N, 8 * pass, (uint32_t(1) << bits) - 1);
    from = to;
  }
}

}  // namespace unroll::cpu
