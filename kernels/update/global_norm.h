// norm2 = sum over the gradient slab of g^2, in an order that depends on its length only.
//
// Two stages: blocks of fixed size are summed in acc, the block sums in f64. An entry that is not
// finite makes the result not finite; the update then leaves everything as it was.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

constexpr int64_t kNormBlock = 4096;  // entries of g in one block; scratch holds an f64 for each

struct GlobalNorm {
  View1 norm2;      // [1]  f64; out
  View1 g;          // [n]  f32 or f64
  Scratch scratch;  // global_norm_scratch_bytes
};
void global_norm(const Exec& exec, const GlobalNorm& args);
size_t global_norm_scratch_bytes(int64_t n);

namespace cpu {
void global_norm(const Exec& exec, const GlobalNorm& args);
}
namespace cuda {
void global_norm(const Exec& exec, const GlobalNorm& args);
}

}  // namespace unroll
