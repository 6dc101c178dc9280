// The bf16 shadow of a piece, for the CPU bodies.
#pragma once

#include "kernels/update/pieces.h"

namespace unroll::cpu {

template <class T>
void write_shadow(bf16* shadow, const SlabPiece& piece, const T* theta) {
  if (!shadow || piece.columns == 0) return;
  const int64_t pad = shadow_stride(piece.columns) - piece.columns;
  bf16* to = shadow + piece.shadow + piece.column;
  uint32_t column = piece.column;
  for (uint32_t i = 0; i < piece.count; ++i) {
    *to++ = bf16(float(theta[i]));
    if (++column == piece.columns) {
      column = 0;
      to += pad;
    }
  }
}

}  // namespace unroll::cpu
