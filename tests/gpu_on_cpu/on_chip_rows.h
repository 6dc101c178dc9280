// The kernel of kernels/heads/row_on_chip.cuh in divisions that a device would choose for much
// longer rows.
#pragma once

#include <cstdint>

#include "kernels/heads/linear_softmax_xent.h"

namespace unroll::gpu_on_cpu {

struct OnChipCall {
  int64_t N, D, V, ld;         // ld: of z
  void *z, *x, *W;             // [N,V] in: logits without bias, out: their gradients; [N,D] [V,D]
  const float* b;              // [V] or null
  float* loss;                 // [N]
  const int32_t* target;       // [N]
  const float* dloss;          // [N]
  unsigned cluster, clusters;  // blocks of a row; rows at a time
  bool keeps_bias;
  XentOptions options;
};
void launch_on_chip_rows(const OnChipCall& call, bool bf16_logits);

}  // namespace unroll::gpu_on_cpu
