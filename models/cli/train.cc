// unroll train: from text files to a run directory.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "host/data/splits.h"
#include "host/io/checkpoint.h"
#include "host/io/metrics.h"
#include "host/ngram/ngram_model.h"
#include "host/train/memory_estimate.h"
#include "host/train/trainer.h"
#include "host/train/weights_file.h"
#include "kernels/base/error.h"
#include "models/cli/stop_signals.h"
#include "models/cli/terminal.h"
#include "models/cli/time_table.h"
#include "models/cli/train_ngram.h"
#include "models/cli/train_texts.h"
#include "models/cli/verbs.h"
#include "models/recipes/recipes.h"
#include "models/registry.h"
#include "models/softmax_choice.h"

namespace unroll::cli {
namespace {

// What stands on the command line besides settings.
struct TrainFlags {
  std::string recipe, data, out, resume, init_from, arpa;
  std::vector<std::string> set;
  std::vector<std::pair<const Setting*, std::string>> settings;  // in the order given
  bool quiet = false, profile = false;
};

// Settings that a resumed run may change: how long and where it runs, and what it reports.
constexpr const char* kResumable[] = {"epochs",
                                      "finetune_epochs",
                                      "finetune_lr",
                                      "finetune_adversarial",
                                      "finetune_embedding_noise",
                                      "max_steps",
                                      "max_time",
                                      "patience",
                                      "log_every",
                                      "save_every",
                                      "device",
                                      "threads",
                                      "eager",
                                      "logits_memory",
                                      "schedule",
                                      "wavefront"};

// Settings that one output layer alone reads; "auto" may become adaptive.
constexpr std::pair<std::string_view, std::string_view> kOfSoftmax[] = {
    {"adaptive_cutoffs", "adaptive"}, {"div_value", "adaptive"},     {"head_bias", "adaptive"},
    {"samples", "sampled or nce"},    {"sampler", "sampled or nce"}, {"classes", "class"}};

std::string read_text(const std::string& path, const std::string& flag) {
  std::ifstream in(path, std::ios::binary);
  if (!in)
    throw Error(ErrorKind::usage, flag + " " + path + ": cannot be opened: " +
                                      std::strerror(errno) + "; check the path");
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

Config new_config(const TrainFlags& f) {
  Config config;
  if (f.recipe.size() > 5 && f.recipe.ends_with(".toml"))
    config.apply_toml(read_text(f.recipe, "--recipe"), f.recipe);
  else if (!f.recipe.empty())
    config.apply_toml(find_recipe(f.recipe).text, "recipe " + f.recipe);
  for (const std::string& assignment : f.set) config.apply(assignment);
  for (const auto& [setting, value] : f.settings) config.set(setting->key, value, setting->flag());
  if (!f.data.empty()) {
    if (!config.train.empty() || !config.valid.empty() || !config.test.empty())
      throw Error(ErrorKind::usage,
                  "--data names a folder that holds all texts; give either it or "
                  "--train, --valid and --test");
    const Splits splits = find_splits(f.data);
    config.train = {splits.train};
    config.valid = {splits.valid};
    if (!splits.test.empty()) config.test = {splits.test};
  }
  if (config.train.empty() || config.valid.empty())
    throw Error(ErrorKind::usage,
                std::string(config.train.empty() ? "no training text" : "no validation text") +
                    "; give --data DIR, or --train FILE --valid FILE [--test FILE]");
  return config;
}

// A flag that this kind of model or output layer would ignore; recipes may set anything.
void refuse_settings_of_others(const TrainFlags& f, const Config& config) {
  const bool ngram = config.model == "ngram";
  for (const auto& [setting, value] : f.settings) {
    const std::string& group = setting->group;
    const bool of_ngrams = group == "N-gram";
    const bool of_both = group == "Data" || group == "System" || setting->key == "model";
    if (of_both || of_ngrams == ngram) continue;
    throw Error(ErrorKind::usage, setting->flag() + " is for " + (ngram ? "recurrent" : "n-gram") +
                                      " models, and this one has model = \"" + config.model +
                                      "\"; leave it out");
  }
  for (const auto& [setting, value] : f.settings)
    for (const auto& [key, kinds] : kOfSoftmax) {
      const std::string kind = config.softmax == "auto" ? "adaptive" : config.softmax;
      if (setting->key != key || kinds.find(kind) != std::string_view::npos) continue;
      throw Error(ErrorKind::usage,
                  fmt::format("{} is for --softmax {}, and this run has softmax = "
                              "\"{}\"; leave it out",
                              setting->flag(), kinds, config.softmax));
    }
  if (ngram && config.device.starts_with("cuda"))
    throw Error(ErrorKind::usage, "--device " + config.device +
                                      ": n-gram models are counted on the CPU; leave it out");
}

Config resumed_config(const TrainFlags& f, const RunDir& run) {
  if (!f.recipe.empty() || !f.data.empty() || !f.out.empty() || !f.init_from.empty() ||
      !f.set.empty())
    throw Error(ErrorKind::usage,
                "--resume goes on with the run's own settings; of the rest only "
                "limits, reports and the device may be given with it");
  Config config;
  config.apply_toml(read_text(run.config(), "--resume"), run.config());
  for (const auto& [setting, value] : f.settings) {
    if (std::find(std::begin(kResumable), std::end(kResumable), setting->key) ==
        std::end(kResumable))
      throw Error(ErrorKind::usage, setting->flag() +
                                        " cannot change in a resumed run; start a new one "
                                        "with --init-from " +
                                        f.resume);
    config.set(setting->key, value, setting->flag());
  }
  std::vector<std::string> files = {config.vocab, config.vocab_of};
  for (const auto* texts : {&config.train, &config.valid, &config.test})
    files.insert(files.end(), texts->begin(), texts->end());
  for (const std::string& file : files)
    if (!file.empty() && !std::filesystem::exists(file))
      throw Error(ErrorKind::usage, run.path + ": its file \"" + file +
                                        "\" is not there; start in the folder where the run began, "
                                        "or write its place into " +
                                        run.config());
  return config;
}

void describe_run(Terminal& terminal, const Config& config, const Texts& texts, const Vocab& vocab,
                  const ParamStore& params, const std::string& softmax, const Backend& backend,
                  const MemoryEstimate& m) {
  describe_texts(terminal, config, texts, vocab);
  terminal.say(fmt::format("model     {} x {} {}, embedding {}{}: {} parameters", config.layers,
                           config.hidden, config.cell, config.emb, config.tied ? ", tied" : "",
                           human_count(double(params.parameters()))));
  terminal.say("softmax   " + softmax);
  terminal.say(fmt::format(
      "memory    {} = {} weights and gradients + {} optimiser + {} activations + {} "
      "logits + {} buffers + {} program; {} free",
      human_bytes(double(m.total())), human_bytes(double(m.weights)),
      human_bytes(double(m.optimizer)),
      human_bytes(double(m.activations - std::min(m.logits, m.activations))),
      human_bytes(double(std::min(m.logits, m.activations))), human_bytes(double(m.buffers)),
      human_bytes(double(m.process)), human_bytes(double(backend.device().free_memory_bytes()))));
  const std::string& why = backend.device().why_cpu();
  terminal.say(fmt::format("device    {}{}, {}, seed {}, unroll {}", backend.device().name(),
                           why.empty() ? "" : " (" + why + ")", config.precision, config.seed,
                           version()));
  if (config.precision == "bf16" && !backend.device().multiplies_bf16())
    terminal.warning(
        "this processor has no instructions for bf16 (AVX512_BF16 or AMX), so bf16 is no faster "
        "than fp32");
  if (const unsigned cores = std::thread::hardware_concurrency();
      cores > 0 && config.threads > int64_t(cores))
    terminal.warning(fmt::format(
        "{} threads share {} cores and wait for each other; --threads 0 takes one per core",
        config.threads, cores));
}

std::string weights_of(const std::string& init_from) {
  const std::string path = resolve_model(init_from);
  if (NgramModel::is_model_file(path))
    throw Error(ErrorKind::usage, "--init-from " + init_from +
                                      ": is an n-gram model, which has no weights; for its "
                                      "vocabulary alone give --vocab-of " +
                                      init_from);
  return path;
}

int report(const TrainResult& result, const RunDir& run, const Config& config, Terminal& terminal,
           bool has_test, int signal) {
  if (result.why == TrainResult::Why::stopped) {
    terminal.notice(
        fmt::format("stopped at step {}, state saved; go on with\n  unroll train --resume {}",
                    result.state.step, run.path));
    return 128 + signal;
  }
  const char* form = config.batching == "sentence"
                         ? "every line from the zero state, every token scored"
                         : "one stream, every token scored";
  std::printf("valid ppl %.2f (%s tokens, best epoch %ld)\n",
              perplexity(result.valid.nats, result.valid.tokens),
              with_commas(result.valid.tokens).c_str(), long(result.state.best_epoch));
  if (has_test)
    std::printf("test ppl %.2f (%s tokens)\n", perplexity(result.test.nats, result.test.tokens),
                with_commas(result.test.tokens).c_str());
  // A finished run that is resumed does no step.
  const std::string speed =
      result.words_per_second > 0 ? ", " + human_count(result.words_per_second) + " words/s" : "";
  terminal.say(fmt::format("({}; {} steps in {}{}; learning curve {})", form, result.state.step,
                           human_duration(result.state.seconds), speed, run.plot()));
  if (result.state.skipped > 0)
    terminal.warning(fmt::format("{} updates were skipped because the gradient was not finite",
                                 result.state.skipped));
  describe_next_steps(terminal, run);
  return 0;
}

// The flag of one setting, with its aliases.
void add_setting(CLI::App& app, TrainFlags& flags, const Setting& setting) {
  std::string names = setting.flag();
  for (const std::string& alias : setting.aliases) {
    std::string dashed = alias;
    std::replace(dashed.begin(), dashed.end(), '_', '-');
    for (const std::string& spelling : {"--" + alias, "--" + dashed})
      if ((names + ",").find(spelling + ",") == std::string::npos) names += "," + spelling;
  }
  const auto take = [&flags, &setting](const std::string& value) {
    flags.settings.emplace_back(&setting, value);
  };
  if (setting.kind == SettingKind::boolean) {
    app.add_flag_function(names, [take](int64_t) { take("true"); })->group(kUnlisted);
    app.add_flag_function("--no-" + setting.flag().substr(2), [take](int64_t) { take("false"); })
        ->group(kUnlisted);
  } else if (setting.kind == SettingKind::list) {
    const auto take_all = [take](const std::vector<std::string>& values) {
      std::string joined;
      for (const std::string& v : values) joined += (joined.empty() ? "" : ",") + v;
      take(joined);
    };
    app.add_option_function<std::vector<std::string>>(names, take_all)->group(kUnlisted);
  } else {
    app.add_option_function<std::string>(names, take)->group(kUnlisted);
  }
}

int train(const TrainFlags& f) {
  take_stop_signals();
  Terminal terminal(f.quiet);
  if (f.out.empty() == f.resume.empty())
    throw Error(ErrorKind::usage, f.out.empty() ? "give --out RUN for a new run, or --resume RUN"
                                                : "give either --out or --resume, not both");
  const bool resume = !f.resume.empty();
  Config config = resume ? resumed_config(f, RunDir::open(f.resume)) : new_config(f);
  config.validate();
  refuse_settings_of_others(f, config);
  if (config.model == "ngram") {
    if (f.profile)
      throw Error(ErrorKind::usage,
                  "--profile is for recurrent models, and this one has model = \"ngram\"; leave it "
                  "out");
    if (!f.init_from.empty())
      throw Error(ErrorKind::usage,
                  "--init-from is for recurrent models; an n-gram model takes only a "
                  "vocabulary: --vocab-of " +
                      f.init_from);
    return train_ngram(std::move(config), f.out, f.arpa, terminal);
  }
  if (!f.arpa.empty())
    throw Error(ErrorKind::usage,
                "--arpa writes n-gram models; give --model ngram or --recipe kn5 with it");
  const Device device = Device::parse(config.device, int(config.threads));
  const Arithmetic arithmetic = parse_precision(config.precision, device);
  config.logits_memory = int64_t(logits_budget(config.logits_memory, device));

  std::optional<NewRun> new_run;
  if (!resume) new_run.emplace(f.out);
  const RunDir run = resume ? RunDir::open(f.resume) : new_run->dir;
  std::optional<RunLock> lock;
  if (resume) lock.emplace(run);
  if (!resume) {
    config.train = spool_standard_input(config.train, "--train", run.path + "/train.txt");
    config.valid = spool_standard_input(config.valid, "--valid", run.path + "/valid.txt");
  }
  const Vocab vocab = make_vocab(config);
  config.unit = name_of(vocab.unit());  // which vocab_of decides
  const Texts texts = make_texts(config, vocab, run, terminal);

  const Backend backend(device, arithmetic.matmul);
  ParamStore params;
  const std::string softmax = choose_softmax(config, vocab);
  const auto model = make_model(config, vocab, params);
  if (allows_row_gradients(config))
    params.keep_row_gradients(config.batch * config.bptt, config.accum);
  require_weights(device, params, arithmetic.act, slots_of(optimizer_settings(config).rule));
  params.materialize(backend, arithmetic.act, uint64_t(config.seed));
  if (!f.init_from.empty())
    terminal.say(
        initialize_from(ModelFile(weights_of(f.init_from)), backend, params, config.cell, vocab));

  Trainer trainer(
      {.backend = &backend,
       .config = &config,
       .model = model.get(),
       .params = &params,
       .data = {&vocab, &texts.train, &texts.valid, texts.has_test ? &texts.test : nullptr},
       .run = run,
       .observer = &terminal,
       .stop = &stop_after_step(),
       .profile = f.profile,
       .softmax = softmax});
  if (resume) trainer.resume();
  write_config(config, run);
  if (new_run) new_run->temporary = false;
  describe_run(terminal, config, texts, vocab, params, softmax, backend, trainer.estimate());
  const TrainResult result = trainer.run();
  if (f.profile) std::fputs(time_table(result.times).c_str(), stdout);
  return report(result, run, config, terminal, texts.has_test, stop_after_step().load());
}

}  // namespace

Verb add_train(CLI::App& app) {
  auto flags = std::make_shared<TrainFlags>();
  app.add_option("--recipe", flags->recipe, "a recipe's name (see unroll recipes), or FILE.toml");
  app.add_option("--data", flags->data,
                 "folder with *train*, *valid* or *dev*, and maybe *test* files");
  app.add_option("--out", flags->out, "run directory to make");
  app.add_option("--resume", flags->resume, "run directory to go on with");
  app.add_option("--init-from", flags->init_from,
                 "model to take weights from; its vocabulary is mapped");
  app.add_option("--set", flags->set, "key=value: overrides any setting of the recipe")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--arpa", flags->arpa, "n-gram models: write the model as ARPA text, too");
  app.add_flag(
      "--profile", flags->profile,
      "print where the time of a chunk goes, op by op; for that chunks run eagerly and one "
      "kernel after another");
  app.add_flag("--quiet", flags->quiet, "print results only");
  // One flag per setting, from the table that recipes are read with; --help shows that table.
  for (const Setting& setting : settings()) add_setting(app, *flags, setting);
  app.footer(settings_help() +
             "\nFlags of settings also take the names that other tools use, e.g. --nlayers, "
             "--nhid, --emsize;"
             "\n--no-FLAG turns a setting off. unroll recipes NAME prints a recipe to start from.");
  return [flags] { return train(*flags); };
}

}  // namespace unroll::cli
