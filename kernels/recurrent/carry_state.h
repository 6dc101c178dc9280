// Carries the recurrent state from chunk to chunk: y[b] = keep[b] ? x[b] : 0.
//
// keep[b] = 0 starts lane b from the zero state; left out, every lane is kept. x and y may be the
// same.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct CarryState {
  View2 y;       // [B,H]  f32, f64 or bf16
  View2 x;       // [B,H]  as y
  View1 keep{};  // [B]    i32, 0 or 1; may be left out
};
void carry_state(const Exec& exec, const CarryState& args);

namespace cpu {
void carry_state(const Exec& exec, const CarryState& args);
}
namespace cuda {
void carry_state(const Exec& exec, const CarryState& args);
}

}  // namespace unroll
