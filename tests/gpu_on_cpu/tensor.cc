// ldmatrix and mma: which lane and register holds which element, as the PTX ISA documents it
// (sections "Warp-level matrix load instruction" and "Matrix fragments for mma.m16n8k16/m16n8k8").
#include <cstring>

#include "tests/gpu_on_cpu/internal.h"

namespace unroll::gpu_on_cpu {

void meet_in(WarpKind kind, void* operands, int count, Site site);  // sync.cc

namespace {

struct LoadOperands {
  uint32_t* r;
  const void* row;
  bool transposed;
};
struct MultiplyOperands {
  float* d;
  const uint32_t *a, *b;
};

float from_bf16(uint32_t bits) {
  bits <<= 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
// The tensor core ignores the low 13 bits of a TF32 operand.
float from_tf32(uint32_t bits) {
  bits &= 0xffffe000u;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}

}  // namespace

void load_matrices(const Meeting& m) {
  const int matrices = m.operand[0];
  for (int i = 0; i < matrices; ++i) {
    uint16_t element[8][8];
    for (int row = 0; row < 8; ++row) {
      const auto& from = *static_cast<const LoadOperands*>(m.value[i * 8 + row]);
      copy_bytes(element[row], from.row, 16);
    }
    for (int lane = 0; lane < 32; ++lane) {
      const auto& to = *static_cast<const LoadOperands*>(m.value[lane]);
      const int g = lane / 4, t = lane % 4;
      const uint32_t low = to.transposed ? element[2 * t][g] : element[g][2 * t];
      const uint32_t high = to.transposed ? element[2 * t + 1][g] : element[g][2 * t + 1];
      to.r[i] = low | high << 16;
    }
  }
}

void multiply_fragments(const Meeting& m) {
  const bool bf16 = m.kind == WarpKind::mma_bf16;
  const int K = bf16 ? 16 : 8;
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& from = *static_cast<const MultiplyOperands*>(m.value[lane]);
    const int g = lane / 4, t = lane % 4;
    for (int r = 0; r < 4; ++r) {
      const int row = g + 8 * (r % 2);
      if (bf16) {
        a[row][2 * t + 8 * (r / 2)] = from_bf16(from.a[r] & 0xffffu);
        a[row][2 * t + 8 * (r / 2) + 1] = from_bf16(from.a[r] >> 16);
      } else {
        a[row][t + 4 * (r / 2)] = from_tf32(from.a[r]);
      }
    }
    for (int r = 0; r < 2; ++r) {
      if (bf16) {
        b[2 * t + 8 * r][g] = from_bf16(from.b[r] & 0xffffu);
        b[2 * t + 8 * r + 1][g] = from_bf16(from.b[r] >> 16);
      } else {
        b[t + 4 * r][g] = from_tf32(from.b[r]);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const auto& to = *static_cast<const MultiplyOperands*>(m.value[lane]);
    for (int r = 0; r < 4; ++r) {
      const int row = lane / 4 + 8 * (r / 2), column = 2 * (lane % 4) + r % 2;
      float sum = to.d[r];
      for (int k = 0; k < K; ++k) sum += a[row][k] * b[k][column];
      to.d[r] = sum;
    }
  }
}

void ldmatrix(uint32_t* r, int matrices, bool transposed, const void* row, Site site) {
  LoadOperands operands{r, row, transposed};
  // The lanes behind the last matrix name no row.
  if (int(current->number % 32) < 8 * matrices) {
    check_aligned(row, 16, site);
    if (!in_shared_arena(row))
      fail("out-of-bounds", "out-of-bounds: " + text_of(*current) + " gives ldmatrix at " +
                                text_of(site) + " an address that is not in shared memory");
    check_own(row, "ldmatrix", site);
    race_access(row, 16, Access::read, {nullptr, site});
  }
  meet_in(WarpKind::ldmatrix, &operands, matrices, site);
}

void mma(WarpKind kind, float* d, const uint32_t* a, const uint32_t* b, Site site) {
  MultiplyOperands operands{d, a, b};
  meet_in(kind, &operands, 0, site);
}

}  // namespace unroll::gpu_on_cpu
