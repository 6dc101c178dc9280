// Reading of --cache, --dynamic and --mc-dropout.
#include "models/cli/adapt_options.h"

#include <fmt/format.h>

#include <limits>

#include "host/io/parse.h"
#include "kernels/base/error.h"

namespace unroll::cli {
namespace {

// One key of a list: where its value goes, and its range.
struct Key {
  std::string name;
  double low, high;
  bool whole;  // an integer
  double* value;
  bool given = false;
};

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorKind::usage, what); }

// "key=value,key=value,tune" into the keys; whether "tune" is among them.
bool parse_list(const std::string& flag, const std::string& list, std::vector<Key>& keys) {
  std::vector<std::string> names{"tune"};
  std::string example;
  for (const Key& key : keys) {
    names.push_back(key.name);
    example += fmt::format("{}{}={:g}", example.empty() ? "" : ",", key.name, *key.value);
  }
  bool tune = false;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const std::string item = list.substr(at, end - at);
    at = end + 1;
    if (item == "tune") {
      tune = true;
      continue;
    }
    const size_t equals = item.find('=');
    const std::string name = item.substr(0, equals);
    Key* key = nullptr;
    for (Key& k : keys)
      if (k.name == name) key = &k;
    if (!key || equals == std::string::npos)
      refuse(fmt::format("{} {}: \"{}\" is no setting{}; give tune, or a list such as {}", flag,
                         list, item, key ? "" : did_you_mean(name, names), example));
    const auto value = parse_real(std::string_view(item).substr(equals + 1));
    if (!value || !(*value >= key->low && *value <= key->high) ||
        (key->whole && *value != double(int64_t(*value))))
      refuse(fmt::format("{} {}: {} has to be {} from {:g} to {:g}", flag, list, name,
                         key->whole ? "a whole number" : "a number", key->low, key->high));
    *key->value = *value;
    key->given = true;
  }
  return tune;
}

void parse_cache(const AdaptOptions& adapt, Adaptation& a) {
  CacheOptions cache;
  double window = double(cache.setting.window);
  std::vector<Key> keys = {{"window", 1, 1e6, true, &window},
                           {"theta", 0, 1e3, false, &cache.setting.theta},
                           {"lambda", 0, 0.999, false, &cache.lambda}};
  a.tune_cache = parse_list("--cache", adapt.cache, keys);
  cache.setting.window = int64_t(window);
  if (keys[0].given) a.cache_search.window = cache.setting.window;
  if (keys[1].given) a.cache_search.theta = cache.setting.theta;
  if (keys[2].given) a.cache_search.lambda = cache.lambda;
  a.cache = cache;
}

void parse_dynamic(const AdaptOptions& adapt, Adaptation& a) {
  DynamicOptions dynamic;
  double segment = dynamic.segment;
  std::vector<Key> keys = {{"lr", 1e-9, 10, false, &dynamic.lr},
                           {"lambda", 0, 10, false, &dynamic.lambda},
                           {"eps", 1e-12, 1, false, &dynamic.eps},
                           {"segment", 1, 1000, true, &segment}};
  a.tune_dynamic = parse_list("--dynamic", adapt.dynamic, keys);
  dynamic.segment = int(segment);
  if (a.tune_dynamic && dynamic.lambda == 0)
    refuse("--dynamic " + adapt.dynamic + ": tuning starts from lambda and needs it above 0");
  a.dynamic = dynamic;
}

}  // namespace

void add_adapt_options(CLI::App& app, AdaptOptions& adapt) {
  const CacheOptions cache;
  const DynamicOptions dynamic;
  const auto not_empty = [](const std::string& list) -> std::string {
    return list.empty() ? "\"\" is no setting; give tune, or a list" : "";
  };
  const char* group = "Models that follow the text (neural, --reset never)";
  app.add_option("--cache", adapt.cache,
                 "mix in a continuous cache of the last hidden states (Grave et al. 2016): " +
                     name_of(cache) + ", any of them, or tune: on --tune-on, all that is not given")
      ->check(not_empty)
      ->group(group);
  app.add_option("--dynamic", adapt.dynamic,
                 "dynamic evaluation, RMS rule (Krause et al. 2018): " + name_of(dynamic) +
                     ", any of them, or tune: lr and lambda on --tune-on. The scale is that of the "
                     "authors' current code: mean loss of a segment, mean square gradient of the "
                     "training text, lambda relative to the mean RMS; the papers' lr=0.002, "
                     "lambda=0.02, eps=0.001 are about lr=4.6e-5, lambda=0.0014, eps=2.3e-5 here. "
                     "The model file is not changed")
      ->check(not_empty)
      ->group(group);
  app.add_option("--dynamic-train", adapt.dynamic_train,
                 "the text of --dynamic's gradient statistics, if not the one that the model's "
                 "settings name as its training text")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--tune-on", adapt.tune_on, "validation text for tune; never the text to score")
      ->allow_extra_args(false)
      ->group(group);
  app.add_option("--tune-tokens", adapt.tune_tokens,
                 "tune on the first so many tokens only; 0: all")
      ->group(group);
  const char* noise = "Monte-Carlo dropout (neural, --reset never)";
  app.add_option("--mc-dropout", adapt.mc_passes,
                 "average the probabilities of so many passes with dropout (Gal & Ghahramani "
                 "2016). --batch of them run side by side, each over chunks of --bptt")
      ->check(CLI::Range(1, 100000))
      ->group(noise);
  app.add_option("--mc-seed", adapt.mc_seed,
                 "of the masks; the same seed, --batch and --bptt give the same figures")
      ->check(CLI::Range(int64_t(0), std::numeric_limits<int64_t>::max()))
      ->group(noise);
}

Adaptation parse_adaptation(const AdaptOptions& adapt) {
  Adaptation a;
  if (!adapt.cache.empty()) parse_cache(adapt, a);
  if (!adapt.dynamic.empty()) parse_dynamic(adapt, a);
  if (adapt.mc_passes > 0 && (a.cache || a.dynamic))
    refuse(
        fmt::format("--mc-dropout and {} cannot be combined: one averages over noisy models, "
                    "the other follows the text with one model; leave one out",
                    a.cache ? "--cache" : "--dynamic"));
  if (adapt.mc_passes == 0 && adapt.mc_seed != 1)
    refuse("--mc-seed is for --mc-dropout; give --mc-dropout PASSES with it");
  if (!adapt.dynamic_train.empty() && !a.dynamic)
    refuse("--dynamic-train is for --dynamic; give --dynamic with it");
  const bool tune = a.tune_cache || a.tune_dynamic;
  if (tune && adapt.tune_on.empty())
    refuse(std::string(a.tune_cache ? "--cache" : "--dynamic") +
           " tune needs a validation text; give --tune-on FILE");
  if (!tune && (!adapt.tune_on.empty() || adapt.tune_tokens != 0))
    refuse(std::string(adapt.tune_on.empty() ? "--tune-tokens" : "--tune-on") +
           " is for --cache tune and --dynamic tune; give one of them with it (the weights of a "
           "mixture are tuned by --tune)");
  if (adapt.tune_tokens < 0)
    refuse(fmt::format("--tune-tokens {}: has to be 0 (all) or more", adapt.tune_tokens));
  return a;
}

std::string name_of(const CacheOptions& c) {
  return fmt::format("window={},theta={:.4g},lambda={:.4g}", c.setting.window, c.setting.theta,
                     c.lambda);
}
std::string name_of(const DynamicOptions& d) {
  return fmt::format("lr={:.4g},lambda={:.4g},eps={:.4g},segment={}", d.lr, d.lambda, d.eps,
                     d.segment);
}

}  // namespace unroll::cli
