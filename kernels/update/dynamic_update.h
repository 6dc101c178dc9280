// Dynamic evaluation: one step of the weights between two segments of the text being scored, and
// the gradient statistics that scale it.
//
//   MS    = (1/n) sum over the segments of the training text of g^2        accumulate_squares
//   theta <- theta - lr g / (RMS + eps) + min(1, decay RMS) (theta_0 - theta)    RMS = sqrt(MS)
//
// with decay = lambda / mean(RMS), where mean(RMS) is the average over tensors of each tensor's
// mean: the RMS form of Krause, Kahembwe, Murray & Renals 2018 ("Dynamic evaluation of neural
// sequence models"), section 4, in the scale of the authors' current code. Both terms read the
// same old theta.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/view.h"

namespace unroll {

// sum += g^2, element by element.
struct AccumulateSquares {
  View1 sum;  // [n]  f32 or f64; in and out
  View1 g;    // [n]  as sum
};
void accumulate_squares(const Exec& exec, const AccumulateSquares& args);

struct DynamicUpdate {
  View1 theta;    // [n]  f32 or f64; in and out
  View1 theta_0;  // [n]  as theta: the trained weights
  View1 g;        // [n]  as theta
  View1 rms;      // [n]  as theta, not negative
  double lr = 0, decay = 0;
  double eps = 0;  // above 0, so that weights without any gradient stay as they are
};
void dynamic_update(const Exec& exec, const DynamicUpdate& args);

namespace cpu {
void accumulate_squares(const Exec& exec, const AccumulateSquares& args);
void dynamic_update(const Exec& exec, const DynamicUpdate& args);
}  // namespace cpu
namespace cuda {
void accumulate_squares(const Exec& exec, const AccumulateSquares& args);
void dynamic_update(const Exec& exec, const DynamicUpdate& args);
}  // namespace cuda

}  // namespace unroll
