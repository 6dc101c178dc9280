// C = A op(B) + beta C with the same B many times: B is brought once into the blocked order that
// the processor's matrix kernel reads, then multiplied by one A after another. f32, CPU only; with
// MatmulMode::bf16, of A and B rounded to bf16.
//
//   C [M,N]   A [M,K]   op(B) [K,N]       op(X) = X or X^T
//
// For skinny products (M of a batch's size), which the recurrence is made of, reading B in its own
// order costs more than the arithmetic. Throws Error if oneDNN refuses.
#pragma once

#include <memory>

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/gemm/gemm.h"

namespace unroll::cpu {

class PackedGemm {
 public:
  struct Shape {
    int64_t M, N, K;
  };
  // Bytes of the packed B and, where it is rounded, of A; 0 where packing is not possible:
  // MatmulMode::bf16 on a processor that does not multiply bf16.
  static size_t scratch_bytes(const Exec& exec, const Shape& shape);

  // Packs `B` into `scratch`, which must live as long as this object. `A` gives the shape and row
  // stride of every A to come; C is contiguous.
  PackedGemm(const Exec& exec, const View<float, 2>& A, const View<float, 2>& B,
             Transpose transpose_B, double beta, Scratch scratch);
  ~PackedGemm();

  void multiply(float* C, const float* A);

 private:
  struct Product;
  std::unique_ptr<Product> product_;
};

}  // namespace unroll::cpu
