// How the schedules divide the scratch of a recurrent layer. All of it is in the accumulate type.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"
#include "kernels/cells/cells.h"

namespace unroll {

struct RecurrentScratch {
  void* Rh;     // [B,GH]  forward: R h_tm1 of one step; masked backward: a product with R, [B,H]
  void* dh;     // [B,H]   backward: gradient of h_tm1 on its way to the step before;
                //         normalised forward: output gates of one step
  void* dc;     // [B,H]   backward: gradient of c_tm1 likewise; normalised forward: c of one step
  void* zeros;  // [GH]    CPU: stands in for a bias that was left out, and for a reset state
  void* scaled_N;  // [B,GH]  normalised backward: g_R times the gradient of LN(R h_tm1) of one step
  void* scaled_n;  // [B,H]   normalised backward: g_c times that of LN(c)
  void* rest;      // where a schedule's own needs begin
  size_t bytes;    // of the parts above
};

inline RecurrentScratch recurrent_scratch(void* base, Cell cell, DType act, int64_t B, int64_t H,
                                          bool normalised = false) {
  const int64_t GH = info_of(cell).gates * H;
  RecurrentScratch s{};
  const auto take = [&](int64_t elements) {
    void* part = base ? static_cast<char*>(base) + s.bytes : nullptr;
    s.bytes += (size_t(elements) * size_of(accumulate_type(act)) + 255) / 256 * 256;
    return part;
  };
  s.Rh = take(B * GH);
  s.dh = take(B * H);
  s.dc = take(B * H);
  s.zeros = take(GH);
  if (normalised) {
    s.scaled_N = take(B * GH);
    s.scaled_n = take(B * H);
  }
  s.rest = take(0);
  return s;
}

namespace cpu {
// Bytes of the packed recurrent weights; 0 where packing does not pay.
size_t recurrent_packed_bytes(const Exec& exec, Cell cell, DType act, int T, int B, int H);
}  // namespace cpu

}  // namespace unroll
