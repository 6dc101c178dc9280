// y = act(x + b), its gradient, and column sums for bias gradients.
//
//   forward    y = act(x + b)
//   backward   dx = dy act'(y)            act' from the output: 1, 1 - y^2, y > 0
//   bias       db = sum over rows of dx   in a fixed order
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

enum class Activation : uint8_t { none, tanh, relu };

struct BiasAct {
  View2 y;    // [N,D]  act: f32, f64, bf16
  View2 x;    // [N,D]  act; may be the same as y
  View1 b{};  // [D]    acc; may be left out
  Activation act = Activation::none;
};
void bias_act_forward(const Exec& exec, const BiasAct& args);

struct BiasActBackward {
  View2 dx;  // [N,D]  act; may be the same as dy
  View2 dy;  // [N,D]  act
  View2 y;   // [N,D]  act; as forward left it; not read when act is none
  Activation act = Activation::none;
};
void bias_act_backward(const Exec& exec, const BiasActBackward& args);

// sum[d] (+)= sum over n of x[n,d]; the order of additions depends on the shape only.
struct ColumnSum {
  View1 sum;  // [D]    acc
  View2 x;    // [N,D]  act
  Accumulate to_sum = Accumulate::overwrite;
};
void column_sum(const Exec& exec, const ColumnSum& args);

namespace cpu {
void bias_act_forward(const Exec& exec, const BiasAct& args);
void bias_act_backward(const Exec& exec, const BiasActBackward& args);
void column_sum(const Exec& exec, const ColumnSum& args);
}  // namespace cpu
namespace cuda {
void bias_act_forward(const Exec& exec, const BiasAct& args);
void bias_act_backward(const Exec& exec, const BiasActBackward& args);
void column_sum(const Exec& exec, const ColumnSum& args);
}  // namespace cuda

}  // namespace unroll
