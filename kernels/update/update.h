// Hyper-parameters that the update kernels read on the device, so that a captured step sees new
// values.
#pragma once

#include <cmath>

#include "kernels/base/view.h"

namespace unroll {

// One record in the step inputs; f64 whatever the model's type, so that no rate is rounded.
struct UpdateInputs {
  double lr;    // learning rate of this update
  double clip;  // bound of the global gradient norm; <= 0: no clipping
  double step;  // number of this update, from 1: bias correction of Adam
};
constexpr int kUpdateInputs = 3;

// The factor on the gradient: min(1, clip / (norm + 1e-6)) as in PyTorch's clip_grad_norm_, after
// Pascanu, Mikolov & Bengio 2013. `norm2` is the squared norm.
GPU_HD double clip_factor(double clip, double norm2) {
  if (!(clip > 0)) return 1.0;
  const double factor = clip / (sqrt(norm2) + 1e-6);
  return factor < 1.0 ? factor : 1.0;
}

}  // namespace unroll
