// C = A B^T with the same B many times: B is brought once into the blocked order that the
// processor's matrix kernel reads, then multiplied by one A after another. f32, CPU only.
//
//   C [M,N]   A [M,K]   B [N,K]
//
// For skinny products (M of a batch's size), which the recurrence is made of, reading B in its own
// order costs more than the arithmetic. Throws Error if oneDNN refuses.
#pragma once

#include <memory>

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll::cpu {

class PackedGemm {
 public:
  // Bytes of the packed B.
  static size_t scratch_bytes(const Exec& exec, int M, int N, int K);

  // Packs `B` into `scratch`, which must live as long as this object. `A` gives the shape and row
  // stride of every A to come; C is contiguous.
  PackedGemm(const Exec& exec, const View<float, 2>& A, const View<float, 2>& B, Scratch scratch);
  ~PackedGemm();

  void multiply(float* C, const float* A);

 private:
  struct Product;
  std::unique_ptr<Product> product_;
};

}  // namespace unroll::cpu
