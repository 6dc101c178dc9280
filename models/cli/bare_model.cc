#include "models/cli/bare_model.h"

#include "kernels/base/error.h"
#include "models/output_layer.h"

namespace unroll::cli {
namespace {

[[noreturn]] void refuse(const ModelFile& file, const std::string& why) {
  throw Error(ErrorKind::model, file.file().path() + ": " + why);
}

// The shape of a matrix; an Error that lists what the file has where it is missing.
const std::vector<int64_t>& matrix(const ModelFile& file, const std::string& name) {
  const TensorInfo* t = file.file().find(name);
  if (!t) {
    std::string names;
    for (const TensorInfo& other : file.file().tensors())
      names += (names.empty() ? "" : ", ") + other.name;
    refuse(file, "has neither a configuration nor a tensor \"" + name +
                     "\" to read one from; it has " + names.substr(0, 400) +
                     "; name the modules encoder, rnn (or rnns) and decoder before saving");
  }
  if (t->shape.size() != 2)
    refuse(file, "tensor \"" + name + "\" is " + t->shape_text() + ", expected a matrix");
  return t->shape;
}

// torch.nn.AdaptiveLogSoftmaxWithLoss as module "decoder", or a plain softmax.
void infer_softmax(const ModelFile& file, Config* c) {
  c->softmax = "full";
  if (!file.has("decoder.head.weight")) return;
  c->softmax = "adaptive";
  c->head_bias = file.has("decoder.head.bias");
  const std::vector<int64_t>& head = matrix(file, "decoder.head.weight");
  std::vector<int64_t> widths, words;
  while (file.has("decoder.tail." + std::to_string(widths.size()) + ".0.weight")) {
    const std::string tail = "decoder.tail." + std::to_string(widths.size());
    widths.push_back(matrix(file, tail + ".0.weight")[0]);
    words.push_back(matrix(file, tail + ".1.weight")[0]);
  }
  int64_t cutoff = head[0] - int64_t(widths.size());
  for (const int64_t n : words) {
    c->adaptive_cutoffs += (c->adaptive_cutoffs.empty() ? "" : ",") + std::to_string(cutoff);
    cutoff += n;
  }
  if (widths.empty() || head[0] <= int64_t(widths.size()))
    refuse(file, "its decoder.head is no adaptive softmax: it has no clusters, or no words before");
  // PyTorch keeps no div_value; a whole or half one gives its widths.
  for (c->div_value = 1; c->div_value <= 64; c->div_value += 0.5) {
    bool same = true;
    for (size_t i = 0; i < widths.size(); ++i)
      same = same && cluster_width(head[1], c->div_value, int64_t(i)) == widths[i];
    if (same) return;
  }
  refuse(file, "the widths of its clusters follow from no div_value that is a multiple of 0.5");
}

}  // namespace

Config infer_config(const ModelFile& file, const std::string& cell) {
  Config c;
  c.emb = matrix(file, "encoder.weight")[1];
  // Layers of one width are one module of torch.nn, layers of several a list of modules.
  const bool list = file.has("rnns.0.weight_hh_l0");
  const auto name = [&](const std::string& tensor, int64_t l) {
    return list ? "rnns." + std::to_string(l) + "." + tensor + "_l0"
                : "rnn." + tensor + "_l" + std::to_string(l);
  };
  const std::vector<int64_t>& R = matrix(file, name("weight_hh", 0));
  c.hidden = R[1];
  const int64_t gates = c.hidden > 0 && R[0] % c.hidden == 0 ? R[0] / c.hidden : 0;
  c.cell = gates == 4 ? "lstm" : gates == 3 ? "gru" : gates == 1 ? "tanh" : "";
  if (c.cell.empty())
    refuse(file, "tensor \"" + name("weight_hh", 0) + "\" is [" + std::to_string(R[0]) + "," +
                     std::to_string(R[1]) +
                     "]: neither an LSTM's [4H,H], a GRU's [3H,H] nor an RNN's [H,H]");
  if (!cell.empty() && cell != c.cell) {
    if (gates != 1 || cell != "relu")
      refuse(file, "--cell " + cell + ": by its shapes the file holds a " + c.cell +
                       "; leave --cell out");
    c.cell = cell;
  }
  for (c.layers = 1; file.has(name("weight_hh", c.layers));) ++c.layers;
  if (list) c.hidden_last = matrix(file, name("weight_hh", c.layers - 1))[1];
  if (file.has(name("weight_hh", 0) + "_reverse") || file.has(name("weight_hr", 0)))
    refuse(file, "holds a bidirectional or projected network, which is no language model here");
  c.biases = file.has(name("bias_hh", 0)) ? 2 : 1;
  c.layer_norm = file.has(name("gain_hh", 0));
  if (file.has("prior.weight")) c.mixtures = matrix(file, "prior.weight")[0];
  c.tied = !file.file().find("decoder.weight") && !file.has("decoder.head.weight");
  infer_softmax(file, &c);
  return c;
}

}  // namespace unroll::cli
