#include "models/registry.h"

#include "models/rnn_lm.h"
#include "models/softmax_choice.h"

namespace unroll {
namespace {

OutputLayer::Config output_of(const Config& config, const Vocab& vocab) {
  using Kind = OutputLayer::Kind;
  OutputLayer::Config c;
  c.options = {.label_smoothing = config.label_smoothing,
               .z_loss = config.z_loss,
               .soft_cap = config.soft_cap};
  if (config.softmax == "adaptive") {
    c.kind = Kind::adaptive;
    c.cutoffs = config.cutoffs_of_clusters();
    c.div_value = config.div_value;
    c.head_bias = config.head_bias;
  } else if (config.softmax == "class") {
    c.kind = Kind::classes;
    c.bounds = class_bounds(vocab.counts(), config.classes);
  } else if (config.softmax != "full") {
    c.kind = config.softmax == "nce" ? Kind::nce : Kind::sampled;
    c.samples = config.samples;
    c.q = config.sampler == "unigram" ? unigram(vocab.counts()) : log_uniform(vocab.size());
  }
  return c;
}

}  // namespace

std::unique_ptr<LanguageModel> make_model(Config& config, const Vocab& vocab, ParamStore& params) {
  choose_softmax(config, vocab);
  RnnLm::Config c;
  c.cell = cell_of(config.cell);
  c.V = vocab.size();
  c.E = int(config.emb);
  c.H = int(config.hidden);
  c.L = int(config.layers);
  c.tied = config.tied;
  c.residual = config.residual;
  c.layer_norm = config.layer_norm;
  c.biases = int(config.biases);
  c.dropout = config.dropout;
  c.dropout_input = config.dropout_input;
  c.dropout_hidden = config.dropout_hidden;
  c.dropout_output = config.dropout_output;
  c.dropout_latent = config.dropout_latent;
  c.dropout_embedding = config.dropout_embedding;
  c.weight_drop = config.weight_drop;
  c.zoneout_h = config.zoneout_h;
  c.zoneout_c = config.zoneout_c;
  c.dropout_recurrent = config.dropout_recurrent;
  c.embedding_noise = config.embedding_noise;
  c.adversarial = config.adversarial;
  c.finetune_embedding_noise = config.finetune_embedding_noise;
  c.finetune_adversarial = config.finetune_adversarial;
  c.ar = config.ar;
  c.tar = config.tar;
  c.mixtures = int(config.mixtures);
  c.H_last = int(config.hidden_last);
  c.locked = config.dropout_kind == "locked";
  c.schedule = schedule_of(config.schedule);
  c.wavefront = wavefront_of(config.wavefront);
  c.init = config.init_radius().value_or(0);
  c.forget_bias = config.forget_bias;
  c.output = output_of(config, vocab);
  return std::make_unique<RnnLm>(c, params);
}

}  // namespace unroll
