// Gaussian noise: y = x + deviation g, with g ~ Normal(0, 1) of every element on its own.
//
//   Wang, Gong & Liu 2019 ("Improving Neural Language Modeling via Adversarial Training"), section
//   5, add it to the word vectors that the model reads.
//
// g is a pure function of (seed, mask step, op, element) by Philox (kernels/base/philox.h), made
// normal two words at a time (Box & Muller 1958): with words a and b of a pair, uniform in (0, 1],
//
//   g = sqrt(-2 log a) cos(2 pi b)   and   sqrt(-2 log a) sin(2 pi b)
//
// Element e = n D + d is number e mod 4 of the four that block e / 4 gives. CPU and GPU draw the
// same words. The gradient passes through unchanged.
#pragma once

#include "kernels/base/exec.h"
#include "kernels/base/mask_key.h"
#include "kernels/base/view.h"

namespace unroll {

struct GaussianNoise {
  View2 y;               // [N,D]  act: f32, f64, bf16; out
  View2 x;               // [N,D]  act; may be the same as y
  double deviation = 0;  // 0 or more
  MaskKey key;
};
void gaussian_noise(const Exec& exec, const GaussianNoise& args);

namespace cpu {
void gaussian_noise(const Exec& exec, const GaussianNoise& args);
}
namespace cuda {
void gaussian_noise(const Exec& exec, const GaussianNoise& args);
}

}  // namespace unroll
