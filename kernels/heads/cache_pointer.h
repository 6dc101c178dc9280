// The continuous cache: what a softmax over the hidden states seen last gives to each target.
//
//   p_n = sum_i [w_i = target_n] exp(theta h_n . h_i) / sum_i exp(theta h_n . h_i)
//
// i runs over the pairs (h_i, w_i) of a hidden state and the word that followed it, the `window`
// last ones before row n: those of earlier chunks and of the rows above n. Grave, Joulin & Usunier
// 2016 ("Improving neural language models with a continuous cache"), section 3; the mixture with
// the model's own distribution is the caller's.
//
// The pairs lie in a ring that the op reads and extends: pair i is row i mod R. All products of a
// chunk are one matrix product with the whole ring. Every row is worked out for several settings
// at once, which is what tuning wants; the products are shared.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct CacheSetting {
  int64_t window;  // >= 1
  double theta;    // >= 0; 0 makes all pairs count alike
};
constexpr int kMaxCacheSettings = 32;

struct CachePointer {
  View2 p;       // [N,K]  acc; out; 0 where nothing has been seen or the target is negative
  View2 memory;  // [R,D]  act; in and out; R at least N + the largest window
  View1 ids;     // [R]    i32; in and out
  View1 seen;    // [1]    u64; in and out: number of pairs before the chunk; N is added
  View2 h;       // [N,D]  act: f32, f64, bf16
  View1 target;  // [N]    i32
  const CacheSetting* settings = nullptr;  // K of them, on the host; 1 <= K <= kMaxCacheSettings
  Scratch scratch;                         // cache_pointer_scratch_bytes
};
void cache_pointer(const Exec& exec, const CachePointer& args);
size_t cache_pointer_scratch_bytes(DType act, int64_t N, int64_t R);

namespace cpu {
void cache_pointer(const Exec& exec, const CachePointer& args);
}
namespace cuda {
void cache_pointer(const Exec& exec, const CachePointer& args);
}

}  // namespace unroll
