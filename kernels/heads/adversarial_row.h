// What an adversary who takes `shift` off the target's logit makes of one row, from the row's own
// loss. The equations are those of adversarial_target.h.
#pragma once

#include <cmath>

#include "kernels/base/host_device.h"

namespace unroll {

// log (1 - p') / p' = shift + log (1 - p) / p; -inf where the target is certain.
template <class T>
GPU_HD T adversarial_odds(T nll, T shift) {
  const T loss = nll < 0 ? T(0) : nll;  // by rounding
  return shift + loss + std::log(-std::expm1(-loss));
}

// -log p'.
template <class T>
GPU_HD T adversarial_nll(T nll, T shift) {
  const T odds = adversarial_odds(nll, shift);
  return odds > 0 ? odds + std::log1p(std::exp(-odds)) : std::log1p(std::exp(odds));
}

// 1 - p'.
template <class T>
GPU_HD T adversarial_rest(T nll, T shift) {
  return T(1) / (T(1) + std::exp(-adversarial_odds(nll, shift)));
}

// The weight of a row's gradient, dloss / q; shift 0 leaves it as it is. Where p rounds to 1, q is
// not taken to be below what rounding hides: no gradient becomes larger than dloss.
template <class T>
GPU_HD T adversarial_weight(T dloss, T nll, T shift) {
  if (!(shift > 0)) return dloss;
  const T least = sizeof(T) == 8 ? T(1e-16) : T(6e-8);
  const T q = std::exp(-nll - shift) - std::expm1(-nll);
  return dloss / (q < least ? least : q);
}

}  // namespace unroll
