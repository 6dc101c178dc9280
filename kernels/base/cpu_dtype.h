// Chooses the number type of a CPU body at run time: f32 or f64. bf16 is computed on CUDA only.
#pragma once

#include <string>

#include "kernels/base/dtype.h"
#include "kernels/base/error.h"

namespace unroll::cpu {

// Whether the processor has instructions for products of bf16.
bool multiplies_bf16();

// Calls body(float{}) or body(double{}). Throws Error for any other type.
template <class Body>
void with_real(const char* op, DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32:
      return body(float{});
    case DType::f64:
      return body(double{});
    default:
      throw Error(std::string(op) + ": the CPU computes in f32 or f64, not in " + name_of(dtype) +
                  "; use --precision fp32 or --device cuda");
  }
}

}  // namespace unroll::cpu
