// A weight mask as kernels apply it.
#pragma once

#include "kernels/base/gpu.h"
#include "kernels/recurrent/weight_mask.h"

namespace unroll::cuda {

struct MaskedBy {
  View<const uint32_t, 2> bits;  // null: nothing is masked
  float scale;                   // 1 / (1 - p)

  explicit MaskedBy(const WeightMask& mask)
      : bits(mask.bits.as<const uint32_t>()), scale(float(1 / (1 - mask.p))) {}
  MaskedBy() = default;

  GPU_DEVICE explicit operator bool() const { return bool(bits); }
  // What becomes of an element of R.
  template <class E>
  GPU_DEVICE E operator()(E x, bool kept) const {
    return kept ? E(float(x) * scale) : E(0.0f);
  }
};

}  // namespace unroll::cuda
