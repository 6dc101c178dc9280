// The output layer in all its forms: one place that declares its weights and picks the op.
//
//   kind       weights, D the width of what it sees
//   full       decoder.weight [V,D], decoder.bias [V]
//   sampled    the same; trained on a sample
//   nce        the same; trained by noise-contrastive estimation, normaliser fixed at V
//   classes    the same, and classes.weight [C,D], classes.bias [C]
//   adaptive   decoder.head.weight [c_0+C,D], decoder.tail.I.0.weight, decoder.tail.I.1.weight: the
//              names of torch.nn.AdaptiveLogSoftmaxWithLoss as module "decoder"; its head_bias is
//              decoder.head.bias. Tied: decoder.bias, and clusters.weight [C,D], clusters.bias [C]
//
// Tied: decoder.weight is the word vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "host/ops/adaptive_softmax.h"
#include "host/ops/adversarial_target.h"
#include "host/ops/class_softmax.h"
#include "host/ops/linear_softmax_xent.h"
#include "host/ops/sampled_softmax.h"
#include "host/train/model.h"

namespace unroll {

class OutputLayer {
 public:
  enum class Kind { full, adaptive, sampled, nce, classes };
  struct Config {
    Kind kind = Kind::full;
    std::vector<int64_t> cutoffs;  // adaptive: where clusters begin
    double div_value = 4;          // adaptive: by what a cluster is narrower than the one before
    bool head_bias = false;        // adaptive, untied
    int64_t samples = 0;           // sampled, nce
    std::vector<double> q;         // sampled, nce: what they are drawn from, [V]
    std::vector<int64_t> bounds;   // classes: where each begins, then V
    XentOptions options;           // full
  };

  OutputLayer() = default;
  // `tied` is the matrix of word vectors, or no parameter; `flat` the bound of all initial weights,
  // or 0 for PyTorch's.
  OutputLayer(const Config& cfg, ParamStore& p, int64_t V, int64_t D, Param tied, double flat)
      : kind_(cfg.kind), options_(cfg.options) {
    const auto init = [&](double bound) { return uniform(flat > 0 ? flat : bound); };
    const Init linear = init(1 / std::sqrt(double(D))), bias = flat > 0 ? uniform(flat) : zero();
    if (kind_ == Kind::adaptive) {
      add_adaptive(cfg, p, V, D, tied, init);
      return;
    }
    W_ = tied ? tied : p.add("decoder.weight", V, D, init(0.1));
    b_ = p.add("decoder.bias", V, 0, bias);
    if (kind_ == Kind::classes) {
      const int64_t C = int64_t(cfg.bounds.size()) - 1;
      classes_.W = W_;
      classes_.b = b_;
      classes_.W_c = p.add("classes.weight", C, D, linear);
      classes_.b_c = p.add("classes.bias", C, 0, bias);
      for (int64_t c = 0; c < C; ++c)
        classes_.largest =
            std::max(classes_.largest, cfg.bounds[size_t(c) + 1] - cfg.bounds[size_t(c)]);
      classes_.bounds = add_ids(p, cfg.bounds);
    } else if (kind_ != Kind::full) {
      if (!tied) p.touch_by_rows(W_, cfg.samples);
      const AliasTable table = alias_table(cfg.q);
      sampled_ = {SampledObjective::softmax,
                  cfg.samples,
                  0,
                  W_,
                  b_,
                  p.add_constant(DType::u32, table.keep),
                  p.add_constant(DType::i32, table.alias),
                  p.add_constant(DType::f64, table.log_q)};
      if (kind_ == Kind::nce) {
        sampled_.objective = SampledObjective::nce;
        sampled_.log_normalizer = std::log(double(V));
      }
    }
  }

  // `adversarial`, for the full one: eps of adversarial_target.h.
  Tensor loss(Tape& tape, const Var& x, const Chunk& w, double adversarial = 0) const {
    switch (kind_) {
      case Kind::adaptive:
        return adaptive_softmax_xent(tape, adaptive_, x, w.target, w.weight, w.logits_bytes,
                                     w.room);
      case Kind::sampled:
      case Kind::nce:
        return sampled_softmax_xent(tape, sampled_, x, w.target, w.weight, w.logits_bytes);
      case Kind::classes:
        return class_softmax_xent(tape, classes_, x, w.target, w.weight, w.logits_bytes);
      case Kind::full:
        break;
    }
    const Tensor shift = adversarial_shift(tape, x, W_, w.target, adversarial);
    return linear_softmax_xent(tape, x, W_, b_, w.target, w.weight, w.logits_bytes, options_,
                               shift ? shift.view<1>() : View1{});
  }

  Tensor log_probabilities(Tape& tape, const Var& x) const {
    if (kind_ == Kind::adaptive) return adaptive_log_softmax(tape, adaptive_, x);
    if (kind_ == Kind::classes) return class_log_softmax(tape, classes_, x);
    return linear_log_softmax(tape, x, W_, b_, options_.soft_cap);
  }

  // Room for a chunk with these targets; empty where no size depends on them.
  std::vector<int64_t> room(const std::vector<int32_t>& target) const {
    return kind_ == Kind::adaptive ? adaptive_room(adaptive_, target) : std::vector<int64_t>{};
  }

 private:
  static Constant add_ids(ParamStore& p, const std::vector<int64_t>& ids) {
    return p.add_constant(DType::i32, {ids.begin(), ids.end()});
  }

  template <class InitOf>
  void add_adaptive(const Config& cfg, ParamStore& p, int64_t V, int64_t D, Param tied,
                    InitOf init) {
    const int64_t C = int64_t(cfg.cutoffs.size()), c0 = cfg.cutoffs[0];
    adaptive_.bounds = {0};
    std::vector<int64_t> clusters;
    for (const int64_t c : cfg.cutoffs) adaptive_.bounds.push_back(c);
    adaptive_.bounds.push_back(V);
    for (int64_t i = 0; i <= C; ++i) clusters.push_back(adaptive_.bounds[size_t(i) + 1] - c0);
    adaptive_.groups = add_ids(p, adaptive_.bounds);
    adaptive_.clusters = add_ids(p, clusters);
    if (tied) {
      adaptive_.W = tied;
      adaptive_.b = p.add("decoder.bias", V, 0, zero());
      adaptive_.K = p.add("clusters.weight", C, D, zero());
      adaptive_.k = p.add("clusters.bias", C, 0, zero());
      return;
    }
    const Init linear = init(1 / std::sqrt(double(D)));
    adaptive_.W = p.add("decoder.head.weight", c0 + C, D, linear);
    if (cfg.head_bias) adaptive_.b = p.add("decoder.head.bias", c0 + C, 0, linear);
    for (int64_t i = 0; i < C; ++i) {
      const std::string name = "decoder.tail." + std::to_string(i);
      const int64_t width = cluster_width(D, cfg.div_value, i);
      const int64_t words = adaptive_.bounds[size_t(i) + 2] - adaptive_.bounds[size_t(i) + 1];
      AdaptiveHead::Tail tail;
      tail.P = p.add(name + ".0.weight", width, D, linear);
      tail.U = p.add(name + ".1.weight", words, width, init(1 / std::sqrt(double(width))));
      adaptive_.tails.push_back(tail);
    }
  }

  Kind kind_ = Kind::full;
  XentOptions options_;
  Param W_, b_;
  AdaptiveHead adaptive_;
  SampledHead sampled_;
  ClassHead classes_;
};

}  // namespace unroll
