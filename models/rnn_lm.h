// The stacked recurrent language model over any cell.
//
//   x_t    = E[w_t]                                                      [B,E]
//   y_t    = L recurrent layers, all [B,H] but the last, which may be narrower
//   d_t    = dropout(y_t), or dropout(P y_t) where a tied output layer is narrower
//   loss   = -log softmax(W_o d_t + b_o)[w_{t+1}], in a form of output_layer.h,
//            or a mixture of softmaxes                                           nats
//
// Tied: W_o = E. If the last layer is as wide as E nothing stands between (Merity, Keskar & Socher
// 2018); otherwise P [E,H] without bias does (Press & Wolf 2017; Inan, Khosravi & Socher 2017).
// Untied with standard dropout it is Zaremba, Sutskever & Vinyals 2014. With K softmaxes it is
// Yang, Dai, Salakhutdinov & Cohen 2018, and E is as wide as their latent vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "host/ops/activation_penalty.h"
#include "host/ops/dropout.h"
#include "host/ops/embedding.h"
#include "host/ops/linear.h"
#include "host/ops/mixture_softmax.h"
#include "host/ops/recurrent_stack.h"
#include "host/train/model.h"
#include "models/output_layer.h"

namespace unroll {

class RnnLm final : public LanguageModel {
 public:
  struct Config {
    Cell cell = Cell::lstm;
    int V = 0, E = 200, H = 200, L = 2;
    int H_last = 0;  // width of the last layer; 0: H
    bool tied = false, residual = false, layer_norm = false;
    int biases = 2;              // 2: b_W and b_R per layer as in PyTorch; 1: b_W only
    int mixtures = 0;            // softmaxes that are mixed; 0: one, without latent vectors
    OutputLayer::Config output;  // where none are mixed

    // Before the first layer, between layers, after the last, on latent vectors: `dropout` wherever
    // the place's own rate is negative.
    double dropout = 0;
    double dropout_input = -1, dropout_hidden = -1, dropout_output = -1, dropout_latent = -1;
    bool locked = false;  // one dropout mask per chunk instead of one per step
    double dropout_embedding = 0, weight_drop = 0;
    double zoneout_h = 0, zoneout_c = 0, dropout_recurrent = 0;  // inside the recurrent layers
    double embedding_noise = 0;  // deviation of normal noise on the word vectors
    double adversarial = 0;      // eps of adversarial_target.h, of one softmax or of those mixed
    double finetune_embedding_noise = -1, finetune_adversarial = -1;  // below 0: as those
    double ar = 0, tar = 0;  // activation penalties on the last layer's output

    Schedule schedule = Schedule::automatic;  // of the recurrent layers on a GPU
    Wavefront wavefront = Wavefront::automatic;

    double init = 0;  // every weight U(-init, init); 0: PyTorch's bounds
    double forget_bias = 0;
  };

  RnnLm(const Config& cfg, ParamStore& p) : cfg_(cfg) {
    const auto rate = [&](double own) { return own < 0 ? cfg.dropout : own; };
    // Flat, or PyTorch's: 1/sqrt(H) in a recurrent layer, 1/sqrt(inputs) in a linear one, 0.1 for
    // words, output bias 0.
    const auto init = [&](double bound) { return uniform(cfg.init > 0 ? cfg.init : bound); };
    const Init words = init(0.1);
    const int last = width(cfg.L - 1), G = info_of(cfg.cell).gates;
    E_ = p.add("encoder.weight", cfg.V, cfg.E, words);
    if (!cfg.tied) p.touch_by_rows(E_);
    stack_.cell = cfg.cell;
    stack_.dropout_input = rate(cfg.dropout_input);
    stack_.dropout_hidden = rate(cfg.dropout_hidden);
    stack_.layer.weight_drop = cfg.weight_drop;
    stack_.layer.zoneout_h = cfg.zoneout_h;
    stack_.layer.zoneout_c = cfg.zoneout_c;
    stack_.layer.dropout_recurrent = cfg.dropout_recurrent;
    stack_.layer.locked = cfg.locked;
    stack_.layer.schedule = cfg.schedule;
    stack_.wavefront = cfg.wavefront;
    stack_.residual = cfg.residual;
    // torch.nn holds layers of one width in one module; of several, in a list of modules.
    const bool one_module = cfg.L == 1 || last == cfg.H;
    for (int l = 0; l < cfg.L; ++l) {
      const int H = width(l);
      const std::string module = one_module ? "rnn." : "rnns." + std::to_string(l) + ".";
      const std::string suffix = "_l" + std::to_string(one_module ? l : 0);
      const Init recurrent = init(1 / std::sqrt(double(H)));
      Init bias = cfg.layer_norm ? zero() : recurrent;
      if (cfg.cell == Cell::lstm) bias.forget_bias = cfg.forget_bias;
      RecurrentParams layer;
      layer.W = p.add(module + "weight_ih" + suffix, G * H, l == 0 ? cfg.E : cfg.H, recurrent);
      layer.R = p.add(module + "weight_hh" + suffix, G * H, H, recurrent);
      layer.b_W = p.add(module + "bias_ih" + suffix, G * H, 0, bias);
      if (cfg.biases == 2)
        layer.b_R =
            p.add(module + "bias_hh" + suffix, G * H, 0, cfg.layer_norm ? zero() : recurrent);
      if (cfg.layer_norm) {
        layer.g_W = p.add(module + "gain_ih" + suffix, G * H, 0, one());
        layer.g_R = p.add(module + "gain_hh" + suffix, G * H, 0, one());
        if (info_of(cfg.cell).states == 2) {
          layer.g_c = p.add(module + "gain_c" + suffix, H, 0, one());
          layer.b_c = p.add(module + "bias_c" + suffix, H, 0, zero());
        }
      }
      stack_.layers.push_back(layer);
    }
    int D = last;  // of the vectors fed to the output layer
    if (cfg.mixtures > 0) {
      const Init linear = init(1 / std::sqrt(double(last)));
      mixture_.K = cfg.mixtures;
      mixture_.prior = p.add("prior.weight", cfg.mixtures, last, linear);
      mixture_.W = p.add("latent.0.weight", cfg.mixtures * cfg.E, last, linear);
      mixture_.b = p.add("latent.0.bias", cfg.mixtures * cfg.E, 0, linear);
      mixture_.dropout = rate(cfg.dropout_latent);
      mixture_.locked = cfg.locked;
      mixture_.W_o = cfg.tied ? E_ : p.add("decoder.weight", cfg.V, cfg.E, words);
      mixture_.b_o = p.add("decoder.bias", cfg.V, 0, cfg.init > 0 ? words : zero());
    } else if (cfg.tied && last != cfg.E) {
      P_ = p.add("projection.weight", cfg.E, last, words);
      D = cfg.E;
    }
    if (cfg.mixtures == 0)
      output_ = OutputLayer(cfg.output, p, cfg.V, D, cfg.tied ? E_ : Param{}, cfg.init);
    dropout_output_ = rate(cfg.dropout_output);
  }

  std::vector<StateShape> state_shape() const override {
    std::vector<StateShape> shape;
    for (int l = 0; l < cfg_.L; ++l) shape.push_back({width(l), info_of(cfg_.cell).states == 2});
    return shape;
  }

  std::vector<ScheduleChoice> schedules(const Exec& exec, DType act, int T, int B) const override {
    std::vector<int64_t> widths;
    for (int l = 0; l < cfg_.L; ++l) widths.push_back(width(l));
    return schedules_of(exec, stack_, act, T, B, widths);
  }

  Var hidden(Tape& tape, const Chunk& w, const State& state) const override {
    const double noise = of_phase(w, cfg_.embedding_noise, cfg_.finetune_embedding_noise);
    const Var x = embedding(tape, E_, w.input, w.T, w.B, cfg_.dropout_embedding, noise);
    const Var y = recurrent_stack(tape, stack_, x, state, w.keep, w.lengths);
    const Var d = dropout(tape, y, dropout_output_, cfg_.locked);
    activation_penalty(tape, d, w.weight, cfg_.ar, 0);
    activation_penalty(tape, y, w.weight, 0, cfg_.tar);
    return P_ ? linear(tape, d, P_) : d;
  }

  Tensor loss(Tape& tape, const Var& hidden, const Chunk& w) const override {
    const double adversarial = of_phase(w, cfg_.adversarial, cfg_.finetune_adversarial);
    if (mixture_.K > 0)
      return mixture_softmax_xent(tape, mixture_, hidden, w.target, w.weight, w.logits_bytes,
                                  adversarial);
    return output_.loss(tape, hidden, w, adversarial);
  }

  Tensor log_probabilities(Tape& tape, const Var& hidden) const override {
    if (mixture_.K > 0) return mixture_log_softmax(tape, mixture_, hidden);
    return output_.log_probabilities(tape, hidden);
  }

  int vocabulary_size() const override { return cfg_.V; }
  bool noisy() const override {
    return std::max({stack_.dropout_input, cfg_.L > 1 ? stack_.dropout_hidden : 0.0,
                     dropout_output_, mixture_.dropout, cfg_.weight_drop, cfg_.zoneout_h,
                     cfg_.zoneout_c, cfg_.dropout_recurrent}) > 0;
  }
  std::vector<int64_t> room(const std::vector<int32_t>& target) const override {
    return output_.room(target);
  }

 private:
  static double of_phase(const Chunk& w, double main, double finetuning) {
    return w.finetuning && finetuning >= 0 ? finetuning : main;
  }
  int width(int layer) const {
    return layer + 1 == cfg_.L && cfg_.H_last > 0 ? cfg_.H_last : cfg_.H;
  }

  Config cfg_;
  Param E_, P_;
  RecurrentStack stack_;
  MixtureHead mixture_;  // K = 0: none
  OutputLayer output_;
  double dropout_output_ = 0;
};

}  // namespace unroll
