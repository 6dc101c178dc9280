// One row of logits: what is summed while it is read, and what loss and gradient follow from that.
// The equations are those of linear_softmax_xent.h. T is float on CUDA, double on the CPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/base/host_device.h"
#include "kernels/heads/linear_softmax_xent.h"

namespace unroll {

template <class T>
struct XentTerms {
  T smoothing, z_loss, cap;
  int64_t V;

  GPU_HD XentTerms(const XentOptions& o, int64_t V)
      : smoothing(T(o.label_smoothing)), z_loss(T(o.z_loss)), cap(T(o.soft_cap)), V(V) {}

  // -inf stays: a masked word is masked under a cap too.
  GPU_HD T capped(T z) const {
    return cap == 0 || z == -T(INFINITY) ? z : cap * std::tanh(z / cap);
  }
  // d capped / dz, from the capped value.
  GPU_HD T slope(T z) const {
    return cap == 0 ? T(1) : z == -T(INFINITY) ? T(0) : T(1) - (z / cap) * (z / cap);
  }
};

// A maximum, the sum of exponentials relative to it (Milakov & Gimelshein 2018, "Online normalizer
// calculation for softmax", algorithm 3), the target's logit and the sum of all logits.
template <class T>
struct RowSum {
  T max = -T(INFINITY), sum = 0, target = -T(INFINITY), total = 0;

  // What exponents are relative to: never infinity - infinity.
  GPU_HD static T reference(T max) { return max == -T(INFINITY) ? T(0) : max; }
  GPU_HD void add_sum(T other_max, T other_sum) {
    const T larger = other_max > max ? other_max : max, to = reference(larger);
    sum = sum * std::exp(max - to) + other_sum * std::exp(other_max - to);
    max = larger;
  }
  // Nothing but -inf. With a NaN among them the sum is NaN.
  GPU_HD bool impossible() const { return max == -T(INFINITY) && sum == 0; }

  GPU_HD T loss(const XentTerms<T>& a) const {
    if (impossible()) return T(INFINITY);
    const T log_sum = std::log(sum), to = reference(max);
    T loss = log_sum + (T(1) - a.smoothing) * (to - target);
    if (a.smoothing > 0) loss += a.smoothing * (to - total / T(a.V));
    if (a.z_loss > 0) loss += a.z_loss * (to + log_sum) * (to + log_sum);
    return loss;
  }
};

// dz_v = scale exp(z_v - max) - uniform, at the target `target`; with a cap, times its slope.
template <class T>
struct RowGradient {
  T max = 0, scale = 0, uniform = 0, target = 0;

  RowGradient() = default;
  GPU_HD RowGradient(const RowSum<T>& row, const XentTerms<T>& a, T dloss)
      : max(RowSum<T>::reference(row.max)), scale(0), uniform(0), target(0) {
    if (row.impossible()) return;
    const T log_sum = std::log(row.sum), nll = log_sum + (max - row.target);
    T factor = 1;
    // softmax - 1 would lose its digits when the class is nearly certain.
    T excess = std::expm1(-nll);
    if (a.z_loss > 0) {
      const T slope = T(2) * a.z_loss * (max + log_sum);  // of the z-loss by lse
      factor += slope;
      excess += slope * std::exp(-nll);
    }
    if (a.smoothing > 0) {
      uniform = dloss * a.smoothing / T(a.V);
      excess += a.smoothing - a.smoothing / T(a.V);
    }
    scale = dloss * factor / row.sum;
    target = dloss * excess;
  }
};

}  // namespace unroll
