// Element types: bf16 is our own 16-bit type, so that neither the CPU build nor the CPU execution
// of kernels needs a CUDA toolkit.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/base/host_device.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#endif

namespace unroll {

enum class DType : uint8_t { f32, f64, bf16, i32, u32, u64, u8 };

// Upper half of an f32. Arithmetic is done in float: convert, compute, convert back.
struct bf16 {
  uint16_t bits;
  bf16() = default;
  // Rounds to nearest even; a NaN stays one.
  GPU_HD explicit bf16(float x) {
#if defined(__CUDA_ARCH__)
    bits = __bfloat16_as_ushort(__float2bfloat16_rn(x));  // one instruction
#else
    union {
      float f;
      uint32_t u;
    } v{x};
    // No branch: loops over it become vector code.
    const uint32_t quiet = v.u | 0x400000u, rounded = v.u + 0x7fffu + ((v.u >> 16) & 1u);
    const bool is_nan = (v.u & 0x7fffffffu) > 0x7f800000u;
    bits = uint16_t((is_nan ? quiet : rounded) >> 16);
#endif
  }
  GPU_HD operator float() const {
    union {
      uint32_t u;
      float f;
    } v{uint32_t(bits) << 16};
    return v.f;
  }
};
static_assert(sizeof(bf16) == 2);

// The type in which sums, cell states, losses, norms and master weights are kept.
template <class T>
struct AccumulateOf {
  using type = float;
};
template <>
struct AccumulateOf<double> {
  using type = double;
};
template <class T>
using acc_t = typename AccumulateOf<T>::type;

template <class T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::f32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::f64;
};
template <>
struct DTypeOf<bf16> {
  static constexpr DType value = DType::bf16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::i32;
};
template <>
struct DTypeOf<uint32_t> {
  static constexpr DType value = DType::u32;
};
template <>
struct DTypeOf<uint64_t> {
  static constexpr DType value = DType::u64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::u8;
};

constexpr size_t size_of(DType t) {
  switch (t) {
    case DType::f64:
    case DType::u64:
      return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::bf16:
      return 2;
    case DType::u8:
      return 1;
  }
  return 0;
}

constexpr const char* name_of(DType t) {
  switch (t) {
    case DType::f32:
      return "f32";
    case DType::f64:
      return "f64";
    case DType::bf16:
      return "bf16";
    case DType::i32:
      return "i32";
    case DType::u32:
      return "u32";
    case DType::u64:
      return "u64";
    case DType::u8:
      return "u8";
  }
  return "?";
}

// f32 for f32 and bf16, f64 for f64.
constexpr DType accumulate_type(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

}  // namespace unroll
