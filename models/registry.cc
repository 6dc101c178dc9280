#include "models/registry.h"

#include "models/rnn_lm.h"

namespace unroll {

std::unique_ptr<LanguageModel> make_model(const Config& config, int V, ParamStore& params) {
  RnnLm::Config c;
  c.cell = cell_of(config.cell);
  c.V = V;
  c.E = int(config.emb);
  c.H = int(config.hidden);
  c.L = int(config.layers);
  c.tied = config.tied;
  c.residual = config.residual;
  c.biases = int(config.biases);
  c.dropout = config.dropout;
  c.locked = config.dropout_kind == "locked";
  c.init = config.init_radius().value_or(0);
  c.forget_bias = config.forget_bias;
  return std::make_unique<RnnLm>(c, params);
}

}  // namespace unroll
