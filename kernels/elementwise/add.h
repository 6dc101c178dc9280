// y (+)= a x, row by row, converting between element types: residual sums, gradient fan-out,
// joining two directions.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

struct AddScaled {
  View2 y;  // [N,D]  f32, f64 or bf16
  View2 x;  // [N,D]  f32, f64 or bf16; f64 only with f64
  double a = 1;
  Accumulate to_y = Accumulate::overwrite;  // overwrite: a converting copy
};
void add_scaled(const Exec& exec, const AddScaled& args);

namespace cpu {
void add_scaled(const Exec& exec, const AddScaled& args);
}
namespace cuda {
void add_scaled(const Exec& exec, const AddScaled& args);
}

}  // namespace unroll
