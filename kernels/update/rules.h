// The update rules for one weight, templated on the number type: what CPU and CUDA bodies share.
// g is the clipped gradient; a and b are the weight's slots. Equations as in torch.optim.
#pragma once

#include <cmath>

#include "kernels/base/host_device.h"
#include "kernels/update/update.h"

namespace unroll {

// Everything a rule may need, in the number type of the weights.
template <class T>
struct RuleNumbers {
  T lr, decay, momentum, mean, beta1, rest1, beta2, rest2, rate, correction2, eps, kept;
  bool nesterov;

  // 1 - beta is formed in f64: in f32 most digits of 1 - 0.999 would be lost.
  GPU_HD RuleNumbers(const UpdateScales& scales, const UpdateConstants& c)
      : lr(T(scales.lr)),
        decay(T(c.decay)),
        momentum(T(c.momentum)),
        mean(T(scales.mean)),
        beta1(T(c.beta1)),
        rest1(T(1 - c.beta1)),
        beta2(T(c.beta2)),
        rest2(T(1 - c.beta2)),
        rate(T(scales.lr * scales.correction1)),
        correction2(T(scales.correction2)),
        eps(T(c.eps)),
        kept(T(1 - scales.lr * c.decay)),
        nesterov(c.nesterov) {}
};

template <UpdateRule rule>
struct Rule;

// theta <- theta - lr (g + decay theta)
template <>
struct Rule<UpdateRule::sgd> {
  static constexpr int kSlots = 0;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T&, T&) {
    theta -= c.lr * (g + c.decay * theta);
  }
};

// d = g + decay theta;  a <- momentum a + d;  theta <- theta - lr a, or lr (d + momentum a) with
// Nesterov's form (Sutskever et al. 2013)
template <>
struct Rule<UpdateRule::momentum> {
  static constexpr int kSlots = 1;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T& a, T&) {
    const T d = g + c.decay * theta;
    a = c.momentum * a + d;
    theta -= c.lr * (c.nesterov ? d + c.momentum * a : a);
  }
};

// SGD; a <- a + mean (theta - a) (Polyak & Juditsky 1992)
template <>
struct Rule<UpdateRule::asgd> {
  static constexpr int kSlots = 1;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T& a, T&) {
    theta -= c.lr * (g + c.decay * theta);
    a = c.mean == T(1) ? theta : a + c.mean * (theta - a);
  }
};

// d = g + decay theta;  a <- a + d^2;  theta <- theta - lr d / (sqrt(a) + eps)
// (Duchi, Hazan & Singer 2011)
template <>
struct Rule<UpdateRule::adagrad> {
  static constexpr int kSlots = 1;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T& a, T&) {
    const T d = g + c.decay * theta;
    a += d * d;
    theta -= c.lr * d / (sqrt(a) + c.eps);
  }
};

// d = g + decay theta;  a <- beta2 a + (1 - beta2) d^2;  theta <- theta - lr d / (sqrt(a) + eps)
// (Tieleman & Hinton 2012, lecture 6.5)
template <>
struct Rule<UpdateRule::rmsprop> {
  static constexpr int kSlots = 1;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T& a, T&) {
    const T d = g + c.decay * theta;
    a = c.beta2 * a + c.rest2 * d * d;
    theta -= c.lr * d / (sqrt(a) + c.eps);
  }
};

// d = g + decay theta;  a <- beta1 a + (1 - beta1) d;  b <- beta2 b + (1 - beta2) d^2;
// theta <- theta - lr (a / (1 - beta1^k)) / (sqrt(b / (1 - beta2^k)) + eps)
// (Kingma & Ba 2015, algorithm 1)
template <>
struct Rule<UpdateRule::adam> {
  static constexpr int kSlots = 2;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T& a, T& b) {
    const T d = g + c.decay * theta;
    a = c.beta1 * a + c.rest1 * d;
    b = c.beta2 * b + c.rest2 * d * d;
    theta -= c.rate * a / (sqrt(b * c.correction2) + c.eps);
  }
};

// theta <- (1 - lr decay) theta, then Adam without decay (Loshchilov & Hutter 2019, algorithm 2)
template <>
struct Rule<UpdateRule::adamw> {
  static constexpr int kSlots = 2;
  template <class T>
  static GPU_HD void step(const RuleNumbers<T>& c, T& theta, T g, T& a, T& b) {
    a = c.beta1 * a + c.rest1 * g;
    b = c.beta2 * b + c.rest2 * g * g;
    theta = c.kept * theta - c.rate * a / (sqrt(b * c.correction2) + c.eps);
  }
};

// body(Rule<rule>{}) for a rule known at run time.
template <class Body>
void with_rule(UpdateRule rule, Body&& body) {
  switch (rule) {
    case UpdateRule::sgd:
      return body(Rule<UpdateRule::sgd>{});
    case UpdateRule::momentum:
      return body(Rule<UpdateRule::momentum>{});
    case UpdateRule::asgd:
      return body(Rule<UpdateRule::asgd>{});
    case UpdateRule::adagrad:
      return body(Rule<UpdateRule::adagrad>{});
    case UpdateRule::rmsprop:
      return body(Rule<UpdateRule::rmsprop>{});
    case UpdateRule::adam:
      return body(Rule<UpdateRule::adam>{});
    case UpdateRule::adamw:
      return body(Rule<UpdateRule::adamw>{});
  }
}

// The same for the rules that leave weights without a gradient alone.
template <class Body>
void with_row_rule(UpdateRule rule, Body&& body) {
  if (rule == UpdateRule::adagrad) return body(Rule<UpdateRule::adagrad>{});
  body(Rule<UpdateRule::sgd>{});
}

}  // namespace unroll
