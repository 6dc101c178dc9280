// One sample of kernels/heads/sampler.h, for both bodies.
#pragma once

#include "kernels/base/philox.h"

namespace unroll {

struct AliasTables {
  const uint32_t* keep;
  const int32_t* alias;
  uint64_t V;
};

GPU_HD int32_t draw_sample(const AliasTables& q, uint64_t seed, uint64_t step, uint32_t op,
                           int64_t s) {
  const Philox4 r = philox_block(seed, step, op, uint64_t(s / 2));
  const uint32_t r0 = s % 2 ? r.v[2] : r.v[0], r1 = s % 2 ? r.v[3] : r.v[1];
  const uint64_t slot = (q.V * r0) >> 32;
  return r1 <= q.keep[slot] ? int32_t(slot) : q.alias[slot];
}

}  // namespace unroll
