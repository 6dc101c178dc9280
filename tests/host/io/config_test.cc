// Settings: one table, read from TOML and text, every error with its place and fix.
#include "host/io/config.h"

#include <regex>
#include <set>

#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;

std::string toml_error(const std::string& text) {
  return error_of(ErrorKind::usage, [&] { Config::from_toml(text, "my.toml"); });
}

std::string set_error(const std::string& assignment) {
  Config c;
  return error_of(ErrorKind::usage, [&] { c.apply(assignment); });
}

TEST(Settings, TableIsSound) {
  const Config defaults;
  std::set<std::string> names;
  for (const Setting& s : settings()) {
    EXPECT_TRUE(names.insert(s.key).second) << s.key;
    for (const std::string& alias : s.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    EXPECT_FALSE(s.help.empty()) << s.key;
    EXPECT_EQ(s.key.find('-'), std::string::npos);
    EXPECT_EQ(find_setting(s.key), &s);
    EXPECT_EQ(find_setting(s.flag().substr(2)), &s);
    // The default is inside its own range, and every default can be typed.
    Config c;
    if (s.kind != SettingKind::text || !s.value_text(defaults).empty())
      c.set(s.key, s.value_text(defaults), s.key);
    EXPECT_EQ(c, defaults) << s.key;
  }
  EXPECT_NO_THROW(defaults.validate());
  EXPECT_EQ(find_setting("none"), nullptr);
}

// A Config in which no field has its default.
Config unlike_default() {
  Config c;
  for (const Setting& s : settings()) {
    std::string value;
    switch (s.kind) {
      case SettingKind::integer:
        value = s.key == "biases" ? "1" : s.key == "order" ? "7" : "17";
        break;
      case SettingKind::bytes:
        value = "3M";
        break;
      case SettingKind::real:
        value = s.min >= 1 ? "3" : "0.3";
        break;
      case SettingKind::duration:
        value = "1h0.25s";
        break;
      case SettingKind::boolean:
        value = "true";
        break;
      case SettingKind::choice:
        value = s.value_text(c) == s.choices[0] ? s.choices[1] : s.choices[0];
        break;
      case SettingKind::text:
        value = "a \"b\" \\ \t caf\xc3\xa9 #";
        break;
      case SettingKind::list:
        value = "a,b c";
        break;
    }
    c.set(s.key, value, s.key);
  }
  return c;
}

TEST(Config, TomlRoundTripOfEverySetting) {
  const Config c = unlike_default(), defaults;
  for (const Setting& s : settings()) EXPECT_NE(s.value_text(c), s.value_text(defaults)) << s.key;
  EXPECT_EQ(Config::from_toml(c.to_toml(), "config.toml"), c);
  EXPECT_EQ(Config::from_toml(defaults.to_toml(), "config.toml"), defaults);
  const std::string text = defaults.to_toml();
  expect_contains(text, "# Model\n");
  expect_contains(text, "lr = 0.002  # learning rate\n");
  expect_contains(text, "clip = 1.0  # ");
  expect_contains(text, "save_every = \"600s\"  # ");
  expect_contains(text, "cell = \"lstm\"  # recurrent cell (tanh | relu | lstm | gru)\n");
}

TEST(Config, RecipeThenSet) {
  Config c =
      Config::from_toml("cell = \"gru\"\nlr = 1\ntrain = \"a.txt\"\nsave-every = \"8h\"\n", "r");
  EXPECT_EQ(c.cell, "gru");
  EXPECT_EQ(c.lr, 1);
  EXPECT_EQ(c.train, std::vector<std::string>{"a.txt"});
  EXPECT_EQ(c.save_every, 28800);
  c.apply("lr=0.5");
  c.apply("vocab-size=100");
  c.apply("min_count=2");
  c.apply("nhid=7");
  c.apply("max-time=30d");
  c.apply("logits_memory=2G");
  c.apply("tied=yes");
  c.apply("valid=a,b,c");
  EXPECT_EQ(c.lr, 0.5);
  EXPECT_EQ(c.vocab_size, 100);
  EXPECT_EQ(c.min_count, 2);
  EXPECT_EQ(c.hidden, 7);
  EXPECT_EQ(c.max_time, 2592000);
  EXPECT_EQ(c.logits_memory, int64_t(2) << 30);
  EXPECT_TRUE(c.tied);
  EXPECT_EQ(c.valid, (std::vector<std::string>{"a", "b", "c"}));
  c.apply_toml("lr = 3.0\n", "second");
  EXPECT_EQ(c.lr, 3);
  EXPECT_EQ(c.cell, "gru");
}

TEST(Config, TomlErrorsNameFileLineAndFix) {
  EXPECT_EQ(toml_error("lr = 1.0\nlayer = 2\n"),
            "my.toml:2: there is no setting 'layer', did you mean 'layers'?");
  EXPECT_EQ(toml_error("\n\nxyzzy = 2\n"), "my.toml:3: there is no setting 'xyzzy'");
  EXPECT_EQ(toml_error("lr = \"fast\"\n"), "my.toml:1: lr is of type string, expected a number");
  EXPECT_EQ(toml_error("layers = 2.5\n"),
            "my.toml:1: layers is of type floating-point, expected integer");
  EXPECT_EQ(toml_error("tied = 1\n"), "my.toml:1: tied is of type integer, expected boolean");
  EXPECT_EQ(toml_error("cell = 1\n"), "my.toml:1: cell is of type integer, expected string");
  EXPECT_EQ(toml_error("train = [1]\n"),
            "my.toml:1: train is of type array, expected a list of texts");
  EXPECT_EQ(toml_error("cell = \"lstn\"\n"),
            "my.toml:1: cell = 'lstn', expected tanh | relu | lstm | gru, did you mean 'lstm'?");
  EXPECT_EQ(toml_error("layers = 0\n"), "my.toml:1: layers = '0', expected 1 to 64");
  EXPECT_EQ(toml_error("dropout = 1.0\n"), "my.toml:1: dropout = '1', expected 0 to 0.99");
  EXPECT_EQ(toml_error("lr = nan\n"), "my.toml:1: lr = 'nan', expected 1e-09 to 1000000");
  EXPECT_EQ(toml_error("max_time = \"5 fortnights\"\n"),
            "my.toml:1: max_time = '5 fortnights', expected a time such as 90s, 10m, 8h, 30d");
  expect_contains(toml_error("lr = 1\nlr = 2\n"), "my.toml:2: ");
  expect_contains(toml_error("a = \n"), "my.toml:1: ");
  expect_contains(toml_error("[model]\ncell = \"gru\"\n"), "my.toml:1: settings are not grouped");
}

TEST(Config, SetErrorsNameTheFlag) {
  EXPECT_EQ(set_error("lr"), "--set lr: expected key=value");
  EXPECT_EQ(set_error("learn=1"), "--set learn=1: there is no setting 'learn'");
  EXPECT_EQ(set_error("vocab-sise=1"),
            "--set vocab-sise=1: there is no setting 'vocab-sise', did you mean 'vocab_size'?");
  expect_contains(set_error("batch=many"), "batch = 'many', expected a whole number, 1 to 1048576");
  expect_contains(set_error("batch="), "expected a whole number");
  expect_contains(set_error("seed=-1"), "expected 0 or more");
  expect_contains(set_error("tied=maybe"), "true | false");
  expect_contains(set_error("logits_memory=lots"), "bytes such as 256M");
  expect_contains(set_error("logits_memory=-1"), "bytes such as 256M");
  Config c;
  EXPECT_EQ(error_of(ErrorKind::usage, [&] { c.set("lr", "x", "--lr"); }),
            "--lr: lr = 'x', expected a number, 1e-09 to 1000000");
}

std::string combination_error(const std::string& toml) {
  const Config c = Config::from_toml(toml, "t");
  return error_of(ErrorKind::usage, [&] { c.validate(); });
}

TEST(Config, CombinationsThatDoNotFit) {
  expect_contains(combination_error("init = \"normal\""), "expected \"pytorch\" or \"uniform:R\"");
  expect_contains(combination_error("init = \"uniform:-1\""), "uniform:0.1");
  expect_contains(combination_error("init = \"uniform:\""), "uniform:0.1");
  for (const char* device : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda0"})
    expect_contains(combination_error("device = \"" + std::string(device) + "\""),
                    "expected auto, cpu, cuda or cuda:N");
  expect_contains(combination_error("vocab = \"v.txt\"\nvocab_size = 5"), "leave out vocab");
  expect_contains(combination_error("vocab = \"v.txt\"\nmin_count = 5"), "leave out vocab");
  expect_contains(combination_error("cell = \"gru\"\nforget_bias = 1.0"), "set forget_bias = 0");
  expect_contains(combination_error("cell = \"gru\"\nzoneout_c = 0.1"), "set zoneout_c = 0");
  expect_contains(combination_error("device = \"cpu\"\nprecision = \"tf32\""), "needs a GPU");
  expect_contains(combination_error("device = \"cuda:1\"\nprecision = \"fp64\""),
                  "device = \"cpu\"");
  expect_contains(combination_error("epochs = 0"), "nothing would end the training");
  expect_contains(combination_error("optimizer = \"sgd\"\naverage_epoch = 3"),
                  "use nt-asgd, or set average_epoch = 0");
  expect_contains(combination_error("train = \"a\"\npatience = 2"),
                  "give --valid FILE, or set patience = 0");
  expect_contains(combination_error("train = \"a\"\nlr_schedule = \"plateau\""),
                  "another lr_schedule");
}

TEST(Config, FieldsThatAProgramSetOutOfRange) {
  const auto error_with = [](auto change) {
    Config c;
    change(c);
    return error_of(ErrorKind::usage, [&] { c.validate(); });
  };
  EXPECT_EQ(error_with([](Config& c) { c.lr = -1; }),
            "config: lr = '-1', expected 1e-09 to 1000000");
  expect_contains(error_with([](Config& c) { c.log_every = 0; }), "log_every = '0'");
  expect_contains(error_with([](Config& c) { c.softmax = "full "; }), "did you mean 'full'?");
  expect_contains(error_with([](Config& c) { c.save_every = -1; }), "save_every");
  Config odd;
  odd.save_every = 1e-5;
  EXPECT_NO_THROW(odd.validate());
  EXPECT_EQ(Config::from_toml(odd.to_toml(), "t"), odd);
}

TEST(Config, CombinationsThatFit) {
  for (const char* toml :
       {"tied = true\nemb = 100\nhidden = 200", "device = \"cuda:3\"\nprecision = \"bf16\"",
        "epochs = 0\nmax_steps = 5", "train = \"a\"\nvalid = \"b\"\npatience = 2",
        "init = \"uniform:0.05\"", "device = \"cpu\"\nprecision = \"fp64\""})
    EXPECT_NO_THROW(Config::from_toml(toml, "t").validate()) << toml;
  EXPECT_EQ(Config::from_toml("init = \"uniform:0.05\"", "t").init_radius(), 0.05);
  EXPECT_EQ(Config().init_radius(), std::nullopt);
}

TEST(Settings, HelpNamesEveryFlagWithinAHundredColumns) {
  const std::string help = settings_help();
  for (const Setting& s : settings()) expect_contains(help, "  " + s.flag() + " ");
  for (size_t at = 0; at < help.size();) {
    const size_t end = help.find('\n', at);
    EXPECT_LE(end - at, 100u) << help.substr(at, end - at);
    at = end + 1;
  }
  const std::string unwrapped = std::regex_replace(help, std::regex("\\s+"), " ");
  expect_contains(unwrapped, "learning rate (default 0.002)");
  expect_contains(unwrapped, "default 4.00 GiB");
}

}  // namespace
}  // namespace unroll
