// The table of settings, and the text made from it.
#include <fmt/format.h>

#include <algorithm>

#include "host/io/config.h"
#include "host/io/metrics.h"
#include "kernels/cells/cells.h"

namespace unroll {
namespace {

using K = SettingKind;
constexpr double kMany = 1e15;  // "no upper limit" of a count

std::string underscored(std::string_view key) {
  std::string s(key);
  std::replace(s.begin(), s.end(), '-', '_');
  return s;
}

// clang-format off
std::vector<Setting> make_table() {
  using C = Config;
  const char *data = "Data", *model = "Model", *ngram = "N-gram", *optimise = "Optimise", *stop = "Stop",
             *report = "Report", *system = "System";
  return {
    {"train", data, K::list, &C::train, 0, 0, {}, {},
     "training text, plain or .gz; \"-\" is standard input"},
    {"valid", data, K::list, &C::valid, 0, 0, {}, {}, "validation text"},
    {"test", data, K::list, &C::test, 0, 0, {}, {}, "test text, scored once at the end"},
    {"unit", data, K::choice, &C::unit, 0, 0, {"word", "char"}, {}, "what a token is"},
    {"vocab", data, K::text, &C::vocab, 0, 0, {}, {},
     "vocabulary file, one word per line; without it one is made from the training text"},
    {"vocab_of", data, K::text, &C::vocab_of, 0, 0, {}, {},
     "run directory or model file whose vocabulary to use"},
    {"vocab_size", data, K::integer, &C::vocab_size, 0, kMany, {}, {},
     "keep the most frequent words only; 0 keeps all"},
    {"min_count", data, K::integer, &C::min_count, 1, kMany, {}, {},
     "keep words seen at least this often"},
    {"batching", data, K::choice, &C::batching, 0, 0, {"stream", "sentence"}, {},
     "stream: parallel lanes of the text, state carried over; sentence: lines are independent"},

    {"model", model, K::choice, &C::model, 0, 0, {"recurrent", "ngram"}, {},
     "recurrent: a neural network; ngram: modified Kneser-Ney"},
    {"cell", model, K::choice, &C::cell, 0, 0, cell_names(), {"rnn_type"},
     "recurrent cell"},
    {"layers", model, K::integer, &C::layers, 1, 64, {}, {"nlayers", "num_layers"},
     "recurrent layers"},
    {"emb", model, K::integer, &C::emb, 1, 65536, {}, {"emsize", "embedding_dim", "dim_emb"},
     "width of the word vectors"},
    {"hidden", model, K::integer, &C::hidden, 1, 65536, {},
     {"nhid", "hidden_dim", "rnn_size", "dim_rnn"}, "width of the recurrent layers"},
    {"tied", model, K::boolean, &C::tied, 0, 0, {}, {"tie", "tie_weights", "tied_embeddings"},
     "output matrix = word vectors; if emb differs from hidden, a projection without bias "
     "joins them"},
    {"residual", model, K::boolean, &C::residual, 0, 0, {}, {},
     "add each layer's input to its output where the widths agree"},
    {"layer_norm", model, K::boolean, &C::layer_norm, 0, 0, {}, {"layernorm", "ln"},
     "layer normalisation inside the recurrent layers: of both their products, and of the LSTM's cell "
     "states; on a GPU in every schedule but the persistent one"},
    {"biases", model, K::integer, &C::biases, 1, 2, {}, {},
     "bias vectors per layer: 2 as PyTorch and Torch, 1 as TensorFlow"},
    {"init", model, K::text, &C::init, 0, 0, {}, {},
     "initial weights: \"uniform:R\" draws all from [-R,R], \"pytorch\" as torch.nn does"},
    {"forget_bias", model, K::real, &C::forget_bias, -10, 10, {}, {},
     "added to the LSTM's initial forget gate bias"},
    {"dropout", model, K::real, &C::dropout, 0, 0.99, {}, {},
     "share of units set to zero between layers while training"},
    {"dropout_kind", model, K::choice, &C::dropout_kind, 0, 0, {"standard", "locked"}, {},
     "standard: a fresh mask at each step; locked: one mask per chunk"},
    {"dropout_input", model, K::real, &C::dropout_input, -1, 0.99, {}, {"dropouti"},
     "dropout on the word vectors; -1 is as dropout"},
    {"dropout_hidden", model, K::real, &C::dropout_hidden, -1, 0.99, {}, {"dropouth"},
     "dropout between recurrent layers; -1 is as dropout"},
    {"dropout_output", model, K::real, &C::dropout_output, -1, 0.99, {}, {},
     "dropout after the last recurrent layer; -1 is as dropout"},
    {"dropout_embedding", model, K::real, &C::dropout_embedding, 0, 0.99, {}, {"dropoute"},
     "share of words whose vectors are zero for a whole chunk"},
    {"embedding_noise", model, K::real, &C::embedding_noise, 0, 10, {}, {"gaussian"},
     "deviation of the normal noise that is added to the word vectors while training"},
    {"weight_drop", model, K::real, &C::weight_drop, 0, 0.99, {}, {"wdrop"},
     "share of recurrent weights set to zero for a whole chunk"},
    {"dropout_recurrent", model, K::real, &C::dropout_recurrent, 0, 0.99, {}, {"recurrent_dropout"},
     "share of a layer's units that its own next step does not see, by dropout_kind"},
    {"zoneout_h", model, K::real, &C::zoneout_h, 0, 0.99, {}, {"zoneout", "z_prob_states"},
     "share of a layer's units whose output stays what it was one step before; in evaluation the "
     "mean of both"},
    {"zoneout_c", model, K::real, &C::zoneout_c, 0, 0.99, {}, {"z_prob_cells"},
     "the same for the LSTM's cell states"},
    {"ar", model, K::real, &C::ar, 0, 1e6, {}, {"alpha"},
     "activation regularisation: times the mean square of the last layer's dropped output"},
    {"tar", model, K::real, &C::tar, 0, 1e6, {}, {"beta"},
     "temporal activation regularisation: times the mean square of the last layer's change from "
     "step to step"},
    {"hidden_last", model, K::integer, &C::hidden_last, 0, 65536, {}, {"nhidlast"},
     "width of the last recurrent layer; 0 is as hidden. As wide as emb, a tied output needs no "
     "projection"},
    {"mixtures", model, K::integer, &C::mixtures, 0, 256, {}, {"n_experts"},
     "softmaxes that are mixed in the output, each over a vector as wide as emb; 0 is a plain one"},
    {"dropout_latent", model, K::real, &C::dropout_latent, -1, 0.99, {}, {"dropoutl"},
     "mixtures: dropout on their vectors; -1 is as dropout"},
    {"adversarial", model, K::real, &C::adversarial, 0, 1, {}, {"adversarial_epsilon"},
     "softmax and mixtures: while training, the true word's vector is moved against the context by "
     "this share of its length"},
    {"softmax", model, K::choice, &C::softmax, 0, 0,
     {"auto", "full", "adaptive", "sampled", "nce", "class"}, {},
     "output layer: over all words; frequent words first, clusters of rarer ones behind; trained on "
     "a sample of words, full in evaluation; trained by noise contrast; by classes of words"},
    {"adaptive_cutoffs", model, K::text, &C::adaptive_cutoffs, 0, 0, {}, {"adaptive_softmax_cutoff"},
     "adaptive: words before each cluster, e.g. 4000,20000; \"\" chooses by the words' counts"},
    {"div_value", model, K::real, &C::div_value, 1, 64, {}, {"adaptive_softmax_factor"},
     "adaptive: each cluster's vectors are narrower by this factor than the one's before; tied: none "
     "is"},
    {"head_bias", model, K::boolean, &C::head_bias, 0, 0, {}, {},
     "adaptive, not tied: a bias in the first level"},
    {"samples", model, K::integer, &C::samples, 1, 1 << 24, {}, {"num_sampled"},
     "sampled, nce: words drawn for each chunk"},
    {"sampler", model, K::choice, &C::sampler, 0, 0, {"log-uniform", "unigram"}, {},
     "sampled, nce: what they are drawn by, the rank of a word or its count"},
    {"classes", model, K::integer, &C::classes, 0, 1 << 24, {}, {},
     "class: classes of words of about equal frequency; 0 is the root of the vocabulary's size"},
    {"label_smoothing", model, K::real, &C::label_smoothing, 0, 0.99, {}, {},
     "full softmax, in training: share of each target that is spread over all words (Szegedy et al. "
     "2016); losses of training are then those with it, evaluation is without"},
    {"z_loss", model, K::real, &C::z_loss, 0, 1000, {}, {},
     "full softmax, in training: times the square of the logarithm of the normaliser, e.g. 1e-4 "
     "(Chowdhery et al. 2022, PaLM); losses of training are then those with it, evaluation is without"},
    {"soft_cap", model, K::real, &C::soft_cap, 0, 1e6, {}, {"final_logit_softcapping"},
     "full softmax, wherever the model is used: scores z become soft_cap tanh(z / soft_cap), e.g. 30 "
     "(Gemma Team 2024); 0 caps none"},

    {"order", ngram, K::integer, &C::order, 1, 16, {}, {}, "longest n-gram, in words"},
    {"cutoffs", ngram, K::text, &C::cutoffs, 0, 0, {}, {"cutoff"},
     "by order, seldomer n-grams are dropped: 1,1,2 wants 3-grams seen twice; \"\" keeps all"},
    {"prune", ngram, K::real, &C::prune, 0, 0.999999, {}, {},
     "drop n-grams whose loss raises perplexity by less than this share, e.g. 1e-8; 0 drops none"},
    {"discount_fallback", ngram, K::boolean, &C::discount_fallback, 0, 0, {}, {},
     "use discounts 0.5, 1, 1.5 where a text is too small or too regular to estimate them"},
    {"memory", ngram, K::bytes, &C::memory, 1 << 20, kMany, {}, {},
     "bytes for counting; beyond them temporary files are used"},

    {"loss", optimise, K::choice, &C::loss, 0, 0, {"mean", "sum_time"}, {},
     "what lr and clip refer to: mean over time and batch, or sum over time and mean over "
     "batch"},
    {"optimizer", optimise, K::choice, &C::optimizer, 0, 0,
     {"sgd", "momentum", "asgd", "nt-asgd", "adagrad", "rmsprop", "adam", "adamw"},
     {"opt", "optimiser"},
     "update rule; asgd keeps the mean of all weights so far for validation and the saved model, "
     "nt-asgd does so from the validation on that triggers it"},
    {"lr", optimise, K::real, &C::lr, 1e-9, 1e6, {}, {"learning_rate", "learn_rate"},
     "learning rate"},
    {"beta1", optimise, K::real, &C::beta1, 0, 0.999999, {}, {}, "Adam: decay of the first moment"},
    {"beta2", optimise, K::real, &C::beta2, 0, 0.999999, {}, {},
     "Adam: decay of the second moment"},
    {"eps", optimise, K::real, &C::eps, 1e-30, 1, {}, {},
     "Adam, RMSprop, Adagrad: added to the root of the mean or sum of squares"},
    {"momentum", optimise, K::real, &C::momentum, 0, 0.999999, {}, {}, "momentum: decay of the velocity"},
    {"nesterov", optimise, K::boolean, &C::nesterov, 0, 0, {}, {}, "momentum: Nesterov's form"},
    {"rms_decay", optimise, K::real, &C::rms_decay, 0, 0.999999, {}, {}, "RMSprop: decay of the mean of squares"},
    {"accumulator", optimise, K::real, &C::accumulator, 0, 1e6, {}, {"initial_accumulator_value"},
     "Adagrad: what the sums of squares start from"},
    {"nonmono", optimise, K::integer, &C::nonmono, 1, kMany, {}, {},
     "nt-asgd: the mean starts when validation is worse than the best of all epochs but this many "
     "before it; also ends fine-tuning"},
    {"average_epoch", optimise, K::integer, &C::average_epoch, 0, kMany, {}, {},
     "nt-asgd: the mean starts at the end of this epoch, whatever validation says; 0: by nonmono"},
    {"weight_decay", optimise, K::real, &C::weight_decay, 0, 1, {}, {"wdecay"},
     "pull towards zero, added after clipping"},
    {"clip", optimise, K::real, &C::clip, 0, 1e9, {}, {},
     "largest global norm of the gradient; 0 does not clip"},
    {"clip_groups", optimise, K::list, &C::clip_groups, 0, 0, {}, {},
     "weights to clip apart, by name: \"rnn.*\", or \"rnn.*=0.1\" with a bound of their own; the "
     "rest is one more group"},
    {"lr_schedule", optimise, K::choice, &C::lr_schedule, 0, 0, {"constant", "zaremba", "plateau"}, {},
     "how lr changes: never, divided each epoch after lr_hold, or multiplied when validation "
     "stalls"},
    {"lr_hold", optimise, K::integer, &C::lr_hold, 0, kMany, {}, {},
     "zaremba: epochs at the full rate"},
    {"lr_decay", optimise, K::real, &C::lr_decay, 1, 1e6, {}, {},
     "zaremba: divisor in each epoch after those"},
    {"lr_factor", optimise, K::real, &C::lr_factor, 1e-6, 1, {}, {}, "plateau: multiplier of lr"},
    {"patience_lr", optimise, K::integer, &C::patience_lr, 1, kMany, {}, {},
     "plateau: validations without a new best before lr is multiplied"},
    {"batch", optimise, K::integer, &C::batch, 1, 1 << 20, {}, {"batch_size", "minibatch"},
     "lanes or sentences computed at a time"},
    {"bptt", optimise, K::integer, &C::bptt, 1, 1 << 20, {}, {"seq_length", "chunksize"},
     "steps that gradients flow back through"},
    {"bptt_random", optimise, K::boolean, &C::bptt_random, 0, 0, {}, {},
     "chunks of random length: around bptt, one in 20 around half of it, lr scaled by the length"},
    {"partial_shuffle", optimise, K::boolean, &C::partial_shuffle, 0, 0, {}, {"partial"},
     "stream: in every epoch each lane begins at a place drawn for it, and ends before it"},
    {"accum", optimise, K::integer, &C::accum, 1, 1 << 20, {}, {},
     "chunks whose gradients are added before one update"},

    {"epochs", stop, K::integer, &C::epochs, 0, kMany, {}, {"max_epochs"},
     "passes over the training text; 0 is no limit"},
    {"finetune_epochs", stop, K::integer, &C::finetune_epochs, 0, kMany, {}, {},
     "asgd, nt-asgd: passes of a second phase, from the best model, with the mean from its first "
     "update; it ends early where validation triggers it; 0 is none"},
    {"finetune_lr", stop, K::real, &C::finetune_lr, 0, 1e6, {}, {},
     "learning rate of the second phase; 0 is lr"},
    {"finetune_adversarial", stop, K::real, &C::finetune_adversarial, -1, 1, {}, {},
     "adversarial of the second phase; -1 is adversarial"},
    {"finetune_embedding_noise", stop, K::real, &C::finetune_embedding_noise, -1, 10, {}, {},
     "embedding_noise of the second phase; -1 is embedding_noise"},
    {"max_steps", stop, K::integer, &C::max_steps, 0, kMany, {}, {}, "updates; 0 is no limit"},
    {"max_time", stop, K::duration, &C::max_time, 0, kMany, {}, {},
     "time, e.g. 90s, 10m, 8h, 30d; 0 is no limit"},
    {"patience", stop, K::integer, &C::patience, 0, kMany, {}, {},
     "validations without a new best before training ends; 0 never"},

    {"log_every", report, K::integer, &C::log_every, 1, kMany, {}, {"log_interval", "disp_freq"},
     "updates between lines of the log"},
    {"save_every", report, K::duration, &C::save_every, 0, kMany, {}, {},
     "time between saved states; 0 saves after each validation only"},
    {"eval_batch", report, K::integer, &C::eval_batch, 1, 1 << 20, {}, {},
     "lanes of validation during training"},

    {"device", system, K::text, &C::device, 0, 0, {}, {}, "auto, cpu, cuda or cuda:N"},
    {"precision", system, K::choice, &C::precision, 0, 0, {"fp32", "tf32", "bf16", "fp64"}, {},
     "arithmetic: tf32 on a GPU only, fp64 on the CPU only"},
    {"threads", system, K::integer, &C::threads, 0, 4096, {}, {"cpu_threads"},
     "CPU threads; 0 is one per core"},
    {"seed", system, K::integer, &C::seed, 0, kMany, {}, {"random_seed", "rand_seed"},
     "key of all random numbers"},
    {"eager", system, K::boolean, &C::eager, 0, 0, {}, {},
     "launch kernels one by one instead of as a captured graph (same bits, slower)"},
    {"schedule", system, K::choice, &C::schedule, 0, 0,
     {"auto", "persistent", "step", "alternating"}, {"recurrent_schedule"},
     "how a GPU walks through time: auto takes the fastest by prediction and says why; another one "
     "runs or ends in an error"},
    {"wavefront", system, K::choice, &C::wavefront, 0, 0, {"auto", "on", "off"}, {},
     "two layers of one width at once on a GPU, the upper one a part of the chunk behind: auto "
     "where that is predicted to be faster, on runs or ends in an error"},
    {"logits_memory", system, K::bytes, &C::logits_memory, 0, kMany, {}, {},
     "bytes for the scores of all words, more are done in several turns; 0 is automatic: 256M on a "
     "CPU, a quarter of the free memory up to 16G on a GPU"},
  };
}
// clang-format on

// `text` in lines of at most `width`, continued under `indent` spaces.
std::string wrap(const std::string& text, size_t indent, size_t width) {
  std::string out;
  size_t used = indent;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    if (used > indent && used + 1 + end - at > width) {
      out += "\n" + std::string(indent, ' ');
      used = indent;
    } else if (used > indent) {
      out += ' ';
      ++used;
    }
    out += text.substr(at, end - at);
    used += end - at;
    at = end + 1;
  }
  return out;
}

}  // namespace

const std::vector<Setting>& settings() {
  static const std::vector<Setting> table = make_table();
  return table;
}

const Setting* find_setting(std::string_view key) {
  const std::string name = underscored(key);
  for (const Setting& s : settings())
    if (s.key == name || std::find(s.aliases.begin(), s.aliases.end(), name) != s.aliases.end())
      return &s;
  return nullptr;
}

std::string Setting::flag() const {
  std::string name = "--" + key;
  std::replace(name.begin(), name.end(), '_', '-');
  return name;
}

std::string Setting::value_text(const Config& c) const {
  struct Print {
    const Config& c;
    SettingKind kind;
    std::string operator()(int64_t Config::*f) const { return std::to_string(c.*f); }
    std::string operator()(bool Config::*f) const { return c.*f ? "true" : "false"; }
    std::string operator()(std::string Config::*f) const { return c.*f; }
    std::string operator()(double Config::*f) const {
      const std::string text = fmt::format("{}", c.*f);
      const bool unit = kind == SettingKind::duration && text.find('e') == std::string::npos;
      return unit ? text + "s" : text;  // "1e-05s" is no time
    }
    std::string operator()(std::vector<std::string> Config::*f) const {
      return fmt::format("{}", fmt::join(c.*f, ","));
    }
  };
  return std::visit(Print{c, kind}, field);
}

std::string Setting::range_text() const {
  switch (kind) {
    case SettingKind::choice:
      return fmt::format("{}", fmt::join(choices, " | "));
    case SettingKind::boolean:
      return "true | false";
    case SettingKind::integer:
    case SettingKind::real:
    case SettingKind::bytes:
      return max >= kMany ? fmt::format("{} or more", min) : fmt::format("{} to {}", min, max);
    case SettingKind::duration:
      return "a time such as 90s, 10m, 8h, 30d";
    default:
      return "";
  }
}

std::string settings_help() {
  const Config defaults;
  std::string out, group;
  for (const Setting& s : settings()) {
    if (s.group != group) out += (out.empty() ? "" : "\n") + (group = s.group) + ":\n";
    std::string value = s.value_text(defaults);
    if (s.kind == SettingKind::bytes)
      value = human_bytes(double(defaults.*std::get<int64_t Config::*>(s.field)));
    std::string text = s.help;
    const bool list_choices = s.kind == SettingKind::choice;
    if (list_choices || !value.empty())
      text += " (" + (list_choices ? s.range_text() + "; " : "") + "default " + value + ")";
    out += fmt::format("  {:<27}{}\n", s.flag(), wrap(text, 29, 100));
  }
  return out;
}

}  // namespace unroll
