// R as a block of the persistent schedule fetches it: a thread's numbers of two neighbouring units at
// a time, `unit`, which is even, and `unit` + 1. Both passes have
//
//   load(m, unit, k, w)          columns k..k+kWide16-1 of row m of both units, as they are; zero
//                                outside
//   load_bits(m, unit, k, bits)  the words that have their bits
//   kept(unit, k, bits)          those bits: byte 0 of the first unit, byte 1 of the second
//
// and what is loaded is not looked at before all loads of a block of K are under way.
#pragma once

#include "kernels/recurrent/persistent_exchange.cuh"
#include "kernels/recurrent/weight_mask.cuh"

namespace unroll::cuda {

// Forward: row m of a unit is one of R, and a thread's columns of it lie in one word of bits.
template <class P>
struct ForwardRows {
  View<const typename P::Element, 2> R;  // [G*H,H]
  bool aligned;                          // every row begins on 16 bytes
  MaskedBy mask;
  int H;

  GPU_DEVICE void load(int m, int unit, int k, Words (&w)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (unit + half < H) w[half] = columns(R.row(int64_t(m) * H + unit + half), k);
  }
  static constexpr int kBitWords = 2;  // one of each unit
  GPU_DEVICE void load_bits(int m, int unit, int k, uint32_t (&bits)[kBitWords]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      if (unit + half < H && k < H) bits[half] = mask.bits(int64_t(m) * H + unit + half, k / 32);
  }
  GPU_DEVICE uint32_t kept(int, int k, const uint32_t (&bits)[kBitWords]) const {
    return (bits[0] >> k % 32 & 0xffu) | (bits[1] >> k % 32 & 0xffu) << 8;
  }

 private:
  GPU_DEVICE Words columns(const typename P::Element* row, int k) const {
    if (aligned && k + kWide16<P> <= H)
      return __builtin_bit_cast(Words, gpu::load_vec<kWide16<P>>(row + k));
    Words w{};
#pragma unroll
    for (int e = 0; e < kWide16<P>; ++e)
      if (k + e < H) put<P>(w, e, row[k + e]);
    return w;
  }
};

// Backward: the row of a unit is a column of R, in rows of one gate after the other, which are Hp
// apart in K. The bits of both units in a row of R lie in one word.
template <class P>
struct BackwardRows {
  View<const typename P::Element, 2> R;  // [G*H,H]
  MaskedBy mask;
  int H, Hp, K;

  GPU_DEVICE void load(int, int unit, int k, Words (&w)[2]) const {
    typename P::Element x[2][kWide16<P>];
#pragma unroll
    for (int e = 0; e < kWide16<P>; ++e) x[0][e] = x[1][e] = typename P::Element(0.0f);
    for_rows(k, [&](int e, int row) {
      if (unit < H) x[0][e] = R(row, unit);
      if (unit + 1 < H) x[1][e] = R(row, unit + 1);
    });
#pragma unroll
    for (int e = 0; e < kWide16<P>; ++e) {
      put<P>(w[0], e, x[0][e]);
      put<P>(w[1], e, x[1][e]);
    }
  }
  static constexpr int kBitWords = kWide16<P>;  // one of each row of R, of both units
  GPU_DEVICE void load_bits(int, int unit, int k, uint32_t (&bits)[kBitWords]) const {
    if (unit < H) for_rows(k, [&](int e, int row) { bits[e] = mask.bits(row, unit / 32); });
  }
  GPU_DEVICE uint32_t kept(int unit, int, const uint32_t (&bits)[kBitWords]) const {
    uint32_t kept = 0;
#pragma unroll
    for (int e = 0; e < kBitWords; ++e) {
      const uint32_t both = bits[e] >> unit % 32;
      kept |= (both & 1u) << e | (both >> 1 & 1u) << (8 + e);
    }
    return kept;
  }

 private:
  // body(e, row) for those of k..k+kWide16-1 that are rows of R.
  template <class Body>
  GPU_DEVICE void for_rows(int k, const Body& body) const {
    const int gate = k / Hp, first = k - gate * Hp, row = gate * H + first;
    const int count = k < K ? H - first : 0;
#pragma unroll
    for (int e = 0; e < kWide16<P>; ++e)
      if (e < count) body(e, row + e);
  }
};

}  // namespace unroll::cuda
