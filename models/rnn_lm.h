// The stacked recurrent language model over any cell.
//
//   x_t        = E[w_t]                                                  [B,E]
//   h_t        = stack of L recurrent layers with dropout around each    [B,H]
//   y_t        = h_t, or P h_t where a tied output layer is narrower     [B,D]
//   loss       = -log softmax(W_o y_t + b_o)[w_{t+1}]                    nats
//
// Tied: W_o = E. If H differs from E, P [E,H] without bias stands between them (Press & Wolf 2017;
// Inan, Khosravi & Socher 2017). Untied with dropout it is Zaremba, Sutskever & Vinyals 2014.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "host/ops/embedding.h"
#include "host/ops/linear.h"
#include "host/ops/linear_softmax_xent.h"
#include "host/ops/recurrent_stack.h"
#include "host/train/model.h"

namespace unroll {

class RnnLm final : public LanguageModel {
 public:
  struct Config {
    Cell cell = Cell::lstm;
    int V = 0, E = 200, H = 200, L = 2;
    bool tied = false, residual = false;
    int biases = 2;  // 2: b_W and b_R per layer as in PyTorch; 1: b_W only
    double dropout = 0;
    bool locked = false;  // one dropout mask per chunk instead of one per step
    double init = 0;      // every weight U(-init, init); 0: PyTorch's bounds
    double forget_bias = 0;
  };

  RnnLm(const Config& cfg, ParamStore& p) : cfg_(cfg) {
    // Flat, or PyTorch's: 1/sqrt(H) in recurrent layers, 0.1 for words, output bias 0.
    const Init words = uniform(cfg.init > 0 ? cfg.init : 0.1);
    const Init recurrent = uniform(cfg.init > 0 ? cfg.init : 1 / std::sqrt(double(cfg.H)));
    const int G = info_of(cfg.cell).gates;
    E_ = p.add("encoder.weight", cfg.V, cfg.E, words);
    stack_ = {cfg.cell, {}, cfg.dropout, cfg.locked, cfg.residual};
    for (int l = 0; l < cfg.L; ++l) {
      const std::string suffix = "_l" + std::to_string(l);
      Init bias = recurrent;
      if (cfg.cell == Cell::lstm) bias.forget_bias = cfg.forget_bias;
      RecurrentParams layer;
      layer.W = p.add("rnn.weight_ih" + suffix, G * cfg.H, l == 0 ? cfg.E : cfg.H, recurrent);
      layer.R = p.add("rnn.weight_hh" + suffix, G * cfg.H, cfg.H, recurrent);
      layer.b_W = p.add("rnn.bias_ih" + suffix, G * cfg.H, 0, bias);
      if (cfg.biases == 2) layer.b_R = p.add("rnn.bias_hh" + suffix, G * cfg.H, 0, recurrent);
      stack_.layers.push_back(layer);
    }
    if (cfg.tied && cfg.H != cfg.E) P_ = p.add("projection.weight", cfg.E, cfg.H, words);
    W_o_ = cfg.tied ? E_ : p.add("decoder.weight", cfg.V, cfg.H, words);
    b_o_ = p.add("decoder.bias", cfg.V, 0, cfg.init > 0 ? words : zero());
  }

  std::vector<StateShape> state_shape() const override {
    return std::vector<StateShape>(size_t(cfg_.L), {cfg_.H, info_of(cfg_.cell).states == 2});
  }

  Var hidden(Tape& tape, const Chunk& w, const State& state) const override {
    const Var x = embedding(tape, E_, w.input, w.T, w.B);
    const Var h = recurrent_stack(tape, stack_, x, state, w.keep, w.lengths);
    return P_ ? linear(tape, h, P_) : h;
  }

  Tensor loss(Tape& tape, const Var& hidden, const Chunk& w) const override {
    return linear_softmax_xent(tape, hidden, W_o_, b_o_, w.target, w.weight, w.logits_bytes);
  }

  Tensor log_probabilities(Tape& tape, const Var& hidden) const override {
    return linear_log_softmax(tape, hidden, W_o_, b_o_);
  }

  int vocabulary_size() const override { return cfg_.V; }
  const Config& config() const { return cfg_; }

 private:
  Config cfg_;
  Param E_, P_, W_o_, b_o_;
  RecurrentStack stack_;
};

}  // namespace unroll
