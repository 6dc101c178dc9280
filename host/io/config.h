// The settings of a training run. One table describes each (key, type, default, range, help) and
// drives recipes, command-line flags, --set, --help and the config.toml of a run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace unroll {

struct Config {
  // data
  std::vector<std::string> train, valid, test;  // files; "-" is standard input
  std::string unit = "word";                    // word | char
  std::string vocab;                            // file with one word per line; "" makes one
  std::string vocab_of;                         // model whose vocabulary is used; "" is none
  int64_t vocab_size = 0;                       // 0: no limit
  int64_t min_count = 1;
  std::string batching = "stream";  // stream | sentence
  // model
  std::string model = "recurrent";  // recurrent | ngram
  std::string cell = "lstm";
  int64_t layers = 2, emb = 200, hidden = 200;
  bool tied = false, residual = false, layer_norm = false;
  int64_t biases = 2;            // 1 | 2
  std::string init = "pytorch";  // pytorch | uniform:R
  double forget_bias = 0;        // added to the LSTM's initial forget bias
  double dropout = 0;
  std::string dropout_kind = "standard";                                // standard | locked
  double dropout_input = -1, dropout_hidden = -1, dropout_output = -1;  // -1: as dropout
  double dropout_embedding = 0, weight_drop = 0;
  double dropout_recurrent = 0, zoneout_h = 0, zoneout_c = 0;
  double embedding_noise = 0;  // deviation
  double ar = 0, tar = 0;
  int64_t hidden_last = 0;  // 0: as hidden
  int64_t mixtures = 0;     // 0: one softmax
  double dropout_latent = -1;
  double adversarial = 0;        // radius, as a share of a word vector's length
  std::string softmax = "auto";  // auto | full | adaptive | sampled | nce | class
  std::string adaptive_cutoffs;  // "4000,20000": where clusters begin; "" chooses
  double div_value = 4;
  bool head_bias = false;
  int64_t samples = 1000;
  std::string sampler = "log-uniform";                   // log-uniform | unigram
  int64_t classes = 0;                                   // 0: the root of the vocabulary's size
  double label_smoothing = 0, z_loss = 0, soft_cap = 0;  // full softmax; 0: none
  // n-gram model
  int64_t order = 5;
  std::string cutoffs;  // "1,1,2": smallest count kept, by order
  double prune = 0;
  bool discount_fallback = false;
  int64_t memory = int64_t(4) << 30;  // bytes
  // optimiser
  std::string loss = "mean";  // mean | sum_time
  // sgd | momentum | asgd | nt-asgd | adagrad | rmsprop | adam | adamw
  std::string optimizer = "adam";
  double lr = 0.002, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double momentum = 0.9, rms_decay = 0.99, accumulator = 0;  // momentum, RMSprop, Adagrad
  bool nesterov = false;
  int64_t nonmono = 5;                   // nt-asgd: validations that the trigger leaves out
  int64_t average_epoch = 0;             // nt-asgd: instead of the trigger; 0: none
  double clip = 1;                       // 0: no clipping
  std::vector<std::string> clip_groups;  // "rnn.*", "encoder.weight=0.05"
  std::string lr_schedule = "constant";  // constant | zaremba | plateau
  int64_t lr_hold = 4;                   // zaremba: epochs at the full rate
  double lr_decay = 2;                   // zaremba: divisor per epoch afterwards
  double lr_factor = 0.25;               // plateau: multiplier
  int64_t patience_lr = 1;  // plateau: validations without a new best before it applies
  int64_t batch = 32, bptt = 35, accum = 1;
  bool bptt_random = false;      // chunk lengths around bptt
  bool partial_shuffle = false;  // lanes begin elsewhere in every epoch
  // stopping; 0 is "no limit"
  int64_t epochs = 10, max_steps = 0;
  int64_t finetune_epochs = 0;  // of a second phase, from the best model; 0: none
  double finetune_lr = 0;       // 0: as lr
  double finetune_embedding_noise = -1, finetune_adversarial = -1;  // -1: as in the main phase
  double max_time = 0;                                              // seconds
  int64_t patience = 0;
  // reports
  int64_t log_every = 200;  // steps
  double save_every = 600;  // seconds
  int64_t eval_batch = 10;
  // system
  std::string device = "auto";     // auto | cpu | cuda | cuda:N
  std::string precision = "fp32";  // fp32 | tf32 | bf16 | fp64
  int64_t threads = 0;             // 0: all cores
  int64_t seed = 1;
  bool eager = false;
  std::string schedule = "auto";   // auto | persistent | step | alternating
  std::string wavefront = "auto";  // auto | on | off
  int64_t logits_memory = 0;       // bytes; 0: logits_budget() decides

  // A recipe's or run's settings over the defaults, not yet validated. Throws Error(usage) that
  // begins with "file:line:" and names the nearest key, the type or the range.
  static Config from_toml(std::string_view text, const std::string& file);

  // Lays the settings of a TOML text over this one. Throws as from_toml.
  void apply_toml(std::string_view text, const std::string& file);

  // "key=value" of --set. Throws Error(usage).
  void apply(std::string_view assignment);

  // One value as text; `where` begins the message, e.g. "--lr". Dashes and underscores are the
  // same. A list replaces the former list; its items are separated by commas. Throws Error(usage).
  void set(std::string_view key, std::string_view value, const std::string& where);

  // Every effective setting with its help as a comment; from_toml gives the same Config back.
  std::string to_toml() const;

  // Throws Error(usage) for settings out of range or that do not fit together: why, and the fix.
  void validate() const;

  // The numbers of `cutoffs`. Throws Error(usage) where it is no list of them.
  std::vector<uint64_t> cutoff_counts() const;

  // The numbers of `adaptive_cutoffs`. Throws Error(usage) where it is no list of rising ones.
  std::vector<int64_t> cutoffs_of_clusters() const;

  // R of init = "uniform:R"; nothing for init = "pytorch".
  std::optional<double> init_radius() const;

  bool operator==(const Config&) const = default;
};

enum class SettingKind { integer, real, boolean, text, choice, list, duration, bytes };

struct Setting {
  using Field = std::variant<int64_t Config::*, double Config::*, bool Config::*,
                             std::string Config::*, std::vector<std::string> Config::*>;
  std::string key;    // with underscores, as in TOML
  std::string group;  // heading of --help and config.toml
  SettingKind kind;
  Field field;
  double min = 0, max = 0;           // numbers: inclusive
  std::vector<std::string> choices;  // choice
  std::vector<std::string> aliases;  // names that users of other tools will type
  std::string help;

  std::string flag() const;                       // "--vocab-size"
  std::string value_text(const Config& c) const;  // as --set takes it; lists joined by commas
  std::string range_text() const;                 // "1 to 64", "sgd | adam", "" for free text
};

// The table, in the order of --help.
const std::vector<Setting>& settings();

// The setting of that name or alias, dashes or underscores; null if there is none.
const Setting* find_setting(std::string_view key);

// All settings with default, range and help, by group, as text of at most 100 columns.
std::string settings_help();

}  // namespace unroll
