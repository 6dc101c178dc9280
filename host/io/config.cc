// Settings read from TOML and text, checked against the table, and written back.
#include "host/io/config.h"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>
#include <cctype>
#include <sstream>

#include "host/io/parse.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

[[noreturn]] void usage(const std::string& message) { throw Error(ErrorKind::usage, message); }

std::vector<std::string> all_names() {
  std::vector<std::string> names;
  for (const Setting& s : settings()) names.push_back(s.key);
  return names;
}

const Setting& setting_or_throw(std::string_view key, const std::string& where) {
  if (const Setting* s = find_setting(key)) return *s;
  std::string name(key);
  std::replace(name.begin(), name.end(), '-', '_');
  usage(where + ": there is no setting '" + std::string(key) + "'" +
        did_you_mean(name, all_names()));
}

std::string quoted(std::string_view value) { return "'" + std::string(value) + "'"; }

[[noreturn]] void wrong(const Setting& s, std::string_view value, const std::string& where,
                        const std::string& expected) {
  usage(where + ": " + s.key + " = " + quoted(value) + ", expected " + expected);
}

void check_range(const Setting& s, double x, std::string_view value, const std::string& where) {
  if (!(x >= s.min && x <= s.max)) wrong(s, value, where, s.range_text());
}

std::vector<std::string> split_list(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    if (comma > 0) items.emplace_back(text.substr(0, comma));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return items;
}

// ", LSTM is a value of cell (--cell lstm)", or "" where no setting has such a choice.
std::string other_setting_with(std::string_view value) {
  std::string lower(value);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char ch) { return char(std::tolower(ch)); });
  for (const Setting& s : settings())
    if (std::find(s.choices.begin(), s.choices.end(), lower) != s.choices.end())
      return "; " + lower + " is a value of " + s.key + ": " + s.flag() + " " + lower;
  return "";
}

void set_value(Config& c, const Setting& s, std::string_view value, const std::string& where) {
  switch (s.kind) {
    case SettingKind::integer: {
      const auto n = parse_integer(value);
      if (!n) wrong(s, value, where, "a whole number, " + s.range_text());
      check_range(s, double(*n), value, where);
      c.*std::get<int64_t Config::*>(s.field) = *n;
      return;
    }
    case SettingKind::bytes: {
      const auto n = parse_bytes(value);
      if (!n) wrong(s, value, where, "bytes such as 256M or 2G");
      check_range(s, double(*n), value, where);
      c.*std::get<int64_t Config::*>(s.field) = *n;
      return;
    }
    case SettingKind::real: {
      const auto x = parse_real(value);
      if (!x) wrong(s, value, where, "a number, " + s.range_text());
      check_range(s, *x, value, where);
      c.*std::get<double Config::*>(s.field) = *x;
      return;
    }
    case SettingKind::duration: {
      const auto seconds = parse_duration(value);
      if (!seconds) wrong(s, value, where, s.range_text());
      check_range(s, *seconds, value, where);
      c.*std::get<double Config::*>(s.field) = *seconds;
      return;
    }
    case SettingKind::boolean: {
      const bool yes = value == "true" || value == "1" || value == "yes" || value == "on";
      if (!yes && value != "false" && value != "0" && value != "no" && value != "off")
        wrong(s, value, where, s.range_text());
      c.*std::get<bool Config::*>(s.field) = yes;
      return;
    }
    case SettingKind::choice:
      if (std::find(s.choices.begin(), s.choices.end(), value) == s.choices.end())
        usage(where + ": " + s.key + " = " + quoted(value) + ", expected " + s.range_text() +
              did_you_mean(value, s.choices) + other_setting_with(value));
      [[fallthrough]];
    case SettingKind::text:
      c.*std::get<std::string Config::*>(s.field) = std::string(value);
      return;
    case SettingKind::list:
      c.*std::get<std::vector<std::string> Config::*>(s.field) = split_list(value);
      return;
  }
}

// The TOML value as the text that --set would take; a string where a number belongs is an error in
// TOML although it is none on the command line.
void set_node(Config& c, const Setting& s, const toml::node& node, const std::string& where) {
  auto type_error = [&](const char* expected) {
    std::ostringstream type;
    type << node.type();
    usage(where + ": " + s.key + " is of type " + type.str() + ", expected " + expected);
  };
  switch (s.kind) {
    case SettingKind::list: {
      std::vector<std::string> items;
      if (const auto* one = node.as_string()) {
        items.push_back(one->get());
      } else if (const auto* array = node.as_array()) {
        for (const toml::node& item : *array) {
          if (!item.is_string()) type_error("a list of texts");
          items.push_back(item.as_string()->get());
        }
      } else {
        type_error("a text or a list of texts");
      }
      c.*std::get<std::vector<std::string> Config::*>(s.field) = items;
      return;
    }
    case SettingKind::integer:
      if (!node.is_integer()) type_error("integer");
      break;
    case SettingKind::real:
      if (!node.is_number()) type_error("a number");
      break;
    case SettingKind::boolean:
      if (!node.is_boolean()) type_error("boolean");
      break;
    case SettingKind::duration:
    case SettingKind::bytes:
      if (!node.is_number() && !node.is_string()) type_error("a number or a text");
      break;
    default:
      if (!node.is_string()) type_error("string");
  }
  std::string value;
  if (node.is_string()) value = node.as_string()->get();
  if (node.is_boolean()) value = node.as_boolean()->get() ? "true" : "false";
  if (node.is_integer()) value = std::to_string(node.as_integer()->get());
  if (node.is_floating_point()) value = fmt::format("{}", node.as_floating_point()->get());
  set_value(c, s, value, where);
}

std::string toml_string(const std::string& text) {
  std::string out = "\"";
  for (const char ch : text) {
    if (ch == '"' || ch == '\\') out += '\\';
    if (static_cast<unsigned char>(ch) < 0x20 || ch == 0x7f)
      out += fmt::format("\\u{:04x}", int(ch));
    else
      out += ch;
  }
  return out + "\"";
}

// A double that TOML reads as one: never "1", always "1.0".
std::string toml_real(double x) {
  const std::string text = fmt::format("{}", x);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

}  // namespace

Config Config::from_toml(std::string_view text, const std::string& file) {
  Config c;
  c.apply_toml(text, file);
  return c;
}

void Config::apply_toml(std::string_view text, const std::string& file) {
  toml::table table;
  try {
    table = toml::parse(text, file);
  } catch (const toml::parse_error& e) {
    usage(fmt::format("{}:{}: {}", file, e.source().begin.line, e.description()));
  }
  for (const auto& [key, node] : table) {
    const std::string where = fmt::format("{}:{}", file, key.source().begin.line);
    if (node.is_table())
      usage(where + ": settings are not grouped; write them without [" + std::string(key.str()) +
            "]");
    set_node(*this, setting_or_throw(key.str(), where), node, where);
  }
}

void Config::apply(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos)
    usage("--set " + std::string(assignment) + ": expected key=value");
  set(assignment.substr(0, equals), assignment.substr(equals + 1),
      "--set " + std::string(assignment));
}

void Config::set(std::string_view key, std::string_view value, const std::string& where) {
  set_value(*this, setting_or_throw(key, where), value, where);
}

std::string Config::to_toml() const {
  std::string out, group;
  for (const Setting& s : settings()) {
    if (s.group != group) out += (out.empty() ? "" : "\n") + ("# " + (group = s.group)) + "\n";
    std::string value = s.value_text(*this);
    if (s.kind == SettingKind::text || s.kind == SettingKind::choice ||
        s.kind == SettingKind::duration)
      value = toml_string(value);
    if (s.kind == SettingKind::real) value = toml_real(this->*std::get<double Config::*>(s.field));
    if (s.kind == SettingKind::list) {
      value.clear();
      for (const std::string& item : this->*std::get<std::vector<std::string> Config::*>(s.field))
        value += (value.empty() ? "" : ", ") + toml_string(item);
      value = "[" + value + "]";
    }
    const std::string range = s.kind == SettingKind::choice ? " (" + s.range_text() + ")" : "";
    out += fmt::format("{} = {}  # {}{}\n", s.key, value, s.help, range);
  }
  return out;
}

std::vector<uint64_t> Config::cutoff_counts() const {
  std::vector<uint64_t> counts;
  for (const std::string& item : split_list(cutoffs)) {
    const auto n = parse_integer(item);
    if (!n || *n < 1)
      usage("cutoffs = '" + cutoffs +
            "', expected one whole number of 1 or more per order, lowest first, e.g. 1,1,2");
    counts.push_back(uint64_t(*n));
  }
  return counts;
}

std::vector<int64_t> Config::cutoffs_of_clusters() const {
  std::vector<int64_t> cutoffs;
  for (const std::string& item : split_list(adaptive_cutoffs)) {
    const auto n = parse_integer(item);
    if (!n || *n <= (cutoffs.empty() ? 0 : cutoffs.back()))
      usage("adaptive_cutoffs = '" + adaptive_cutoffs +
            "', expected whole numbers that rise, the first of 1 or more, e.g. 4000,20000");
    cutoffs.push_back(*n);
  }
  return cutoffs;
}

std::optional<double> Config::init_radius() const {
  if (!init.starts_with("uniform:")) return {};
  return parse_real(std::string_view(init).substr(8));
}

void Config::validate() const {
  Config checked;  // a program sets fields without set()
  for (const Setting& s : settings()) set_value(checked, s, s.value_text(*this), "config");
  const auto radius = init_radius();
  if (init != "pytorch" && !(radius && *radius > 0 && *radius <= 10))
    usage("init = '" + init + "', expected \"pytorch\" or \"uniform:R\" with R in (0, 10], e.g. " +
          "\"uniform:0.1\"");
  const std::string_view ordinal =
      device.starts_with("cuda:") ? std::string_view(device).substr(5) : "0";
  if ((device != "auto" && device != "cpu" && !device.starts_with("cuda")) ||
      (device.starts_with("cuda") && device != "cuda" && !device.starts_with("cuda:")) ||
      parse_integer(ordinal).value_or(-1) < 0)
    usage("device = '" + device + "', expected auto, cpu, cuda or cuda:N with N = 0, 1, ...");
  if (!vocab.empty() && (vocab_size > 0 || min_count > 1))
    usage(
        "vocab names a finished vocabulary, and vocab_size and min_count are for making one; "
        "leave out vocab, or set vocab_size = 0 and min_count = 1");
  if (!vocab_of.empty() && (!vocab.empty() || vocab_size > 0 || min_count > 1))
    usage(
        "vocab_of takes the vocabulary of a model, and vocab, vocab_size and min_count give "
        "another; leave them out, or leave out vocab_of");
  if (cutoff_counts().size() > size_t(order))
    usage("cutoffs = '" + cutoffs + "' has more numbers than order = " + std::to_string(order) +
          "; give at most one per order, lowest first");
  cutoffs_of_clusters();
  if (mixtures > 0 && softmax != "auto" && softmax != "full")
    usage("mixtures = " + std::to_string(mixtures) + " mixes full softmaxes, and softmax = \"" +
          softmax + "\"; set mixtures = 0, or softmax = \"full\"");
  for (const auto& [key, value] :
       {std::pair("label_smoothing", label_smoothing), {"z_loss", z_loss}, {"soft_cap", soft_cap}})
    if (value > 0 && (mixtures > 0 || (softmax != "auto" && softmax != "full")))
      usage(std::string(key) + " = " + fmt::format("{}", value) + " is for one full softmax, and " +
            (mixtures > 0 ? "mixtures = " + std::to_string(mixtures)
                          : "softmax = \"" + softmax + "\"") +
            "; set " + key + " = 0, or " + (mixtures > 0 ? "mixtures = 0" : "softmax = \"full\""));
  if (forget_bias != 0 && cell != "lstm")
    usage("forget_bias = " + fmt::format("{}", forget_bias) + " needs cell = \"lstm\", a " + cell +
          " cell has no forget gate; set forget_bias = 0");
  if (zoneout_c > 0 && cell != "lstm")
    usage("zoneout_c = " + fmt::format("{}", zoneout_c) + " needs cell = \"lstm\", a " + cell +
          " cell has no cell state; set zoneout_c = 0");
  for (const auto& [key, rate] : {std::pair("dropout_input", dropout_input),
                                  {"dropout_hidden", dropout_hidden},
                                  {"dropout_output", dropout_output},
                                  {"dropout_latent", dropout_latent}})
    if (rate < 0 && rate != -1)
      usage(std::string(key) + " = " + fmt::format("{}", rate) +
            ", expected 0 to 0.99, or -1 to take dropout = " + fmt::format("{}", dropout));
  if (device == "cpu" && precision == "tf32")
    usage(
        "precision = \"tf32\" needs a GPU, and device = \"cpu\"; use fp32 or bf16, or "
        "device = \"cuda\"");
  if (device.starts_with("cuda") && precision == "fp64")
    usage(
        "precision = \"fp64\" is for checks on the CPU; use fp32 on the GPU, or "
        "device = \"cpu\"");
  if (bptt_random && (batching != "stream" || accum > 1))
    usage(std::string("bptt_random cuts a stream into one chunk per update, and ") +
          (accum > 1 ? "accum = " + std::to_string(accum) + " adds up several; set accum = 1"
                     : "batching = \"" + batching + "\"; set batching = \"stream\"") +
          ", or bptt_random = false");
  if (partial_shuffle && batching != "stream")
    usage("partial_shuffle turns the lanes of a stream, and batching = \"" + batching +
          "\" has none; set batching = \"stream\", or partial_shuffle = false");
  for (const auto& [key, value] : {std::pair("finetune_adversarial", finetune_adversarial),
                                   {"finetune_embedding_noise", finetune_embedding_noise}})
    if (value != -1 && (value < 0 || finetune_epochs == 0))
      usage(
          std::string(key) + " = " + fmt::format("{}", value) +
          (value < 0 ? ", expected 0 or more" : " is for a second phase, and finetune_epochs = 0") +
          "; set it to -1 to take the main phase's");
  const double most_adversarial = std::max(adversarial, finetune_adversarial);
  if (most_adversarial > 0 && mixtures == 0 && softmax != "auto" && softmax != "full")
    usage("adversarial = " + fmt::format("{}", most_adversarial) +
          " needs all words, and softmax = \"" + softmax +
          "\" computes some; set softmax = \"full\", or adversarial = 0");
  if (most_adversarial > 0 && (label_smoothing > 0 || z_loss > 0 || soft_cap > 0))
    usage("adversarial = " + fmt::format("{}", most_adversarial) +
          " moves the words of a plain softmax; set label_smoothing, z_loss and soft_cap to 0, or "
          "adversarial = 0");
  if (finetune_lr > 0 && finetune_epochs == 0)
    usage("finetune_lr = " + fmt::format("{}", finetune_lr) +
          " is for a second phase, and finetune_epochs = 0; give finetune_epochs, or set "
          "finetune_lr = 0");
  if (average_epoch > 0 && optimizer != "nt-asgd")
    usage("average_epoch = " + std::to_string(average_epoch) +
          " says when the mean of the weights begins, and optimizer = \"" + optimizer + "\" has " +
          (optimizer == "asgd" ? "one from the first step on" : "none") +
          "; use nt-asgd, or set average_epoch = 0");
  if (finetune_epochs > 0 && optimizer != "asgd" && optimizer != "nt-asgd")
    usage("finetune_epochs = " + std::to_string(finetune_epochs) +
          " keeps a mean of the weights, and optimizer = \"" + optimizer +
          "\" has none; use asgd or nt-asgd, or set finetune_epochs = 0");
  if (finetune_epochs > 0 && epochs == 0 && patience == 0)
    usage(
        "finetune_epochs is for a phase after the main one, which epochs and patience end, and "
        "both are 0; give one of them");
  if (epochs == 0 && max_steps == 0 && max_time == 0 && patience == 0)
    usage(
        "nothing would end the training: epochs, max_steps, max_time and patience are all 0; "
        "give one of them");
  // Files may still be unknown when a recipe alone is checked.
  if (!train.empty() && valid.empty() && (patience > 0 || lr_schedule == "plateau"))
    usage(std::string(patience > 0 ? "patience" : "lr_schedule = \"plateau\"") +
          " looks at the validation loss, and there is no validation text; give --valid FILE, or " +
          (patience > 0 ? "set patience = 0" : "use another lr_schedule"));
}

}  // namespace unroll
