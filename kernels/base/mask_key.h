// How random masks are named and drawn: by dropout of every kind, weight drop, zoneout and noise.
//
// A mask is a pure function of (seed, mask step, op, element) by Philox (philox.h): the backward
// pass draws it again, nothing is saved, and CPU and GPU agree bit for bit.
#pragma once

#include <cstdint>

#include "kernels/base/view.h"

namespace unroll {

// Names a mask. `counter` lies in the step inputs, so a replayed graph draws new masks.
struct MaskKey {
  View1 counter;    // [2] u64: seed, mask step
  uint32_t op = 0;  // distinct for every mask of a step
};

// An element is dropped when its word is below this: p 2^32, rounded.
constexpr uint32_t dropout_threshold(double p) {
  return p >= 1 ? 0xffffffffu : uint32_t(p * 4294967296.0 + 0.5);
}

}  // namespace unroll
