// Device-wide algorithms on views: a stable sort of (key, value) pairs. CUB on CUDA, std:: on the
// CPU.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

// Stable ascending sort by key; equal keys keep their order.
struct SortPairs {
  View1 keys_out, values_out;  // [N] u32
  View1 keys_in, values_in;    // [N] u32; left as they are
  int key_bits = 32;           // only the low bits are compared
  Scratch scratch;             // sort_pairs_scratch_bytes
};
void sort_pairs(const Exec& exec, const SortPairs& args);
size_t sort_pairs_scratch_bytes(const Exec& exec, int N);

namespace cpu {
void sort_pairs(const Exec& exec, const SortPairs& args);
}
namespace cuda {
void sort_pairs(const Exec& exec, const SortPairs& args);
size_t sort_pairs_scratch_bytes(int N);
}  // namespace cuda

}  // namespace unroll
