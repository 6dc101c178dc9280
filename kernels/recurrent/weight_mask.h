// R under weight drop (kernels/regularize/weight_drop.h) for passes that mask it while they load it
// on chip, so that nobody makes, keeps or reads a masked copy:
//
//   R'(r,c) = bit(r,c) ? R(r,c) / (1 - p) : 0
//
// in f32, rounded to the type of R. R in bf16 is rounded once more than a copy made from the f32
// weights, unless 1 / (1 - p) is a power of two, as with p = 0.5 of AWD-LSTM, where both are equal bit
// for bit; in f32 they always are.
#pragma once

#include "kernels/base/view.h"
#include "kernels/recurrent/schedule.h"

namespace unroll {

struct WeightMask {
  View2 bits{};  // [G*H,ceil(H/32)]  u32; 1 keeps the element; left out: R is read as it is
  double p = 0;  // 0 <= p < 1, that of the bits

  explicit operator bool() const { return bool(bits); }
};

// Whether passes in this schedule take a mask: those that load R in an order of their own. The
// alternating schedule and the CPU's loop multiply by R where it lies, and take a masked copy as R.
inline bool takes_mask(Schedule schedule) {
  return schedule == Schedule::persistent || schedule == Schedule::step;
}

// Throws Error unless the mask is one of [G*H,H], or left out.
void check_mask(const char* op, const WeightMask& mask, int64_t GH, int64_t H);

}  // namespace unroll
