// What an update reads on the device: the inputs of the step, and the scales that `clip` makes of
// them and of the gradient's norm. A captured step sees new values without a word from the host.
#pragma once

#include <cmath>

#include "kernels/base/host_device.h"
#include "kernels/base/view.h"

namespace unroll {

// One record in the step inputs; f64 whatever the model's type, so that no rate is rounded.
struct UpdateInputs {
  double lr;             // learning rate of this update
  double clip;           // bound of the gradient norm; <= 0: no clipping
  double averaging = 0;  // ASGD: not 0 if this update enters the mean
};
constexpr int kUpdateInputs = 3;

// Updates that were made: those skipped because of their norm do not count.
struct UpdateCounts {
  double updates;   // in all: Adam's k
  double averaged;  // of these, since averaging began
};
constexpr int kUpdateCounts = 2;

// Written by `clip`; after it lie the factors of the clip groups.
struct UpdateScales {
  double norm2;  // squared norm of the whole gradient, before clipping
  double apply;  // 1, or 0 where norm2 is not finite: the update changes nothing
  double lr;
  double mean;         // share of the new weights in the mean; 0: the mean is left alone
  double correction1;  // 1 / (1 - beta1^k)
  double correction2;  // 1 / (1 - beta2^k)
};
constexpr int kUpdateScales = 6;

// The factor on the gradient: min(1, clip / (norm + 1e-6)) as in PyTorch's clip_grad_norm_, after
// Pascanu, Mikolov & Bengio 2013. `norm2` is the squared norm.
GPU_HD double clip_factor(double clip, double norm2) {
  if (!(clip > 0)) return 1.0;
  const double factor = clip / (sqrt(norm2) + 1e-6);
  return factor < 1.0 ? factor : 1.0;
}

}  // namespace unroll
