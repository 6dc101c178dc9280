#include "host/data/random_lengths.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kernels/base/philox.h"

namespace unroll {
namespace {

constexpr double kFullLength = 0.95, kDeviation = 5;
constexpr int kShortest = 5;
// Apart from the permutations of sentences, whose rounds stand in this word of the counter.
constexpr uint32_t kStream = 0x6c656e67;

double uniform(uint32_t bits) { return (double(bits) + 1) / 4294967296.0; }  // (0, 1]

}  // namespace

int random_chunk_length(int bptt, uint64_t seed, int64_t epoch, int64_t k) {
  const Philox4 r = philox(uint32_t(k), kStream, uint32_t(epoch), uint32_t(epoch >> 32), seed);
  const double base = uniform(r.v[0]) <= kFullLength ? bptt : bptt / 2.0;
  // Box & Muller 1958.
  const double normal =
      std::sqrt(-2 * std::log(uniform(r.v[1]))) * std::cos(2 * std::numbers::pi * uniform(r.v[2]));
  return std::clamp(int(base + kDeviation * normal), kShortest, longest_random_chunk(bptt));
}

}  // namespace unroll
