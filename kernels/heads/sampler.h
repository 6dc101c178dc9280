// Words drawn with replacement from a fixed distribution q, by Walker's alias method: two random
// words and one comparison of integers a sample, the same on CPU and GPU.
//
//   slot = floor(V r_0 / 2^32)      id = slot if r_1 <= keep[slot], alias[slot] otherwise
//
// Walker 1977 ("An efficient method for generating discrete random variables with general
// distributions"); tables as Vose 1991 makes them (host/ops/sampled_softmax.h). Sample s uses words
// 2 (s mod 2) and one more of Philox block s / 2, so each step, and each replay of a graph, draws
// its own. A slot's chance is off by at most V / 2^32 of itself.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct DrawSamples {
  View1 ids;        // [S]  i32; out
  View1 keep;       // [V]  u32
  View1 alias;      // [V]  i32
  View1 counter;    // [2]  u64: seed and step, as masks have them
  uint32_t op = 0;  // distinct for everything random of a step
};
void draw_samples(const Exec& exec, const DrawSamples& args);

namespace cpu {
void draw_samples(const Exec& exec, const DrawSamples& args);
}
namespace cuda {
void draw_samples(const Exec& exec, const DrawSamples& args);
}

}  // namespace unroll
