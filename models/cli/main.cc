// unroll: trains, evaluates and samples recurrent language models.
#include <CLI/CLI.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>
#include <system_error>
#include <vector>

#include "host/device/device.h"
#include "host/io/checkpoint.h"
#include "host/io/parse.h"
#include "kernels/base/error.h"
#include "models/cli/spinning.h"
#include "models/cli/verbs.h"

namespace unroll::cli {
namespace {

constexpr size_t kNameColumn = 34, kTextColumns = 66;  // of --help

// Texts of flags in lines that fit a terminal.
class WrappingFormatter final : public CLI::Formatter {
 public:
  WrappingFormatter() { column_width(kNameColumn); }
  std::string make_group(std::string group, bool positional,
                         std::vector<const CLI::Option*> options) const override {
    return group == kUnlisted ? "" : CLI::Formatter::make_group(group, positional, options);
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    std::string wrapped;
    size_t used = 0;
    std::istringstream words(CLI::Formatter::make_option_desc(option));
    for (std::string word; words >> word; used += word.size()) {
      const bool fits = used + 1 + word.size() <= kTextColumns;
      if (used > 0) wrapped += fits ? " " : "\n";
      used = used > 0 && fits ? used + 1 : 0;
      wrapped += word;
    }
    return wrapped;
  }
};

// "--hiden: unknown; did you mean --hidden?", from what CLI11 could not place.
std::string describe_unknown(const CLI::App& verb) {
  std::vector<std::string> known;
  for (const CLI::Option* option : verb.get_options())
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  for (const std::string& word : verb.remaining()) {
    if (word.rfind("-", 0) != 0) continue;
    const std::string flag = word.substr(0, word.find('='));
    const std::string nearest = nearest_name(flag, known);
    return flag + ": unknown flag of `unroll " + verb.get_name() + "`" +
           (nearest.empty() ? "" : "; did you mean " + nearest + "?") + " (see unroll " +
           verb.get_name() + " --help)";
  }
  return "\"" + verb.remaining().front() + "\": unexpected; see unroll " + verb.get_name() +
         " --help";
}

// "evall: no such verb; did you mean eval?"
std::string describe_unknown_verb(const CLI::App& app, const std::string& word) {
  std::vector<std::string> known;
  for (const CLI::App* verb : app.get_subcommands(nullptr)) known.push_back(verb->get_name());
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  const std::string nearest = nearest_name(word, known);
  return word + ": no such verb or flag" +
         (nearest.empty() ? "" : "; did you mean " + nearest + "?") + " (see unroll --help)";
}

int run(int argc, char** argv) {
  CLI::App app("Trains, evaluates and samples recurrent language models.", "unroll");
  app.set_version_flag("--version", std::string("unroll ") + version() +
                                        (Device::built_with_cuda() ? ", CUDA" : ", CPU only"));
  app.require_subcommand(0, 1);
  // Of a flag given twice the last one counts, so that a command in the shell's history can be
  // added to.
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.allow_extras();
  app.formatter(std::make_shared<WrappingFormatter>());
  std::map<const CLI::App*, Verb> verbs;
  const auto add = [&](const char* name, const char* help, Verb (*declare)(CLI::App&)) {
    CLI::App* verb = app.add_subcommand(name, help);
    verb->allow_extras();  // so that the message can name the nearest flag
    verbs[verb] = declare(*verb);
  };
  add("train", "train a language model", add_train);
  add("eval", "perplexity of a text under a model", add_eval);
  add("score", "log-probability of every line or word of a text", add_score);
  add("generate", "text drawn from a model", add_generate);
  add("info", "what a model file or run directory holds", add_info);
  add("recipes", "the recipes built in, or the text of one", add_recipes);
  add("selftest", "check this build and machine in a few seconds", add_selftest);
  // After the verbs, which would print it, too.
  app.footer(
      "\nunroll VERB --help says more. A first run:\n"
      "  unroll train --recipe demo --data DIR --out RUN\n"
      "  unroll eval RUN FILE\n"
      "  unroll generate RUN --temperature 0.8\n"
      "Exit codes: 0 well, 2 usage, 3 data, 4 model file, 5 divergence, 6 memory or device, 7 "
      "disk,\n"
      "130 and 143 stopped by a signal.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForAllHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ConversionError& e) {
    throw Error(ErrorKind::usage, std::string(e.what()) + "; expected a number");
  } catch (const CLI::ParseError& e) {
    throw Error(ErrorKind::usage, e.what());
  }
  if (!app.remaining().empty())
    throw Error(ErrorKind::usage, describe_unknown_verb(app, app.remaining().front()));
  for (const CLI::App* verb : app.get_subcommands()) {
    if (!verb->remaining().empty()) throw Error(ErrorKind::usage, describe_unknown(*verb));
    limit_spinning(argv);
    return verbs.at(verb)();
  }
  std::fputs(app.help().c_str(), stdout);
  return 0;
}

int unwritten_output(int error) {
  std::fprintf(stderr, "unroll: standard output: cannot be written: %s; free some space\n",
               std::strerror(error));
  return int(ErrorKind::disk);
}

}  // namespace
}  // namespace unroll::cli

int main(int argc, char** argv) {
  // A file beyond a size limit is then an error of the write, like a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    const int code = unroll::cli::run(argc, argv);
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
      return unroll::cli::unwritten_output(errno);
    return code;
  } catch (const unroll::Error& e) {
    std::fprintf(stderr, "unroll: %s\n", e.what());
    return int(e.kind());
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr,
                 "unroll: out of memory; lower --batch, --bptt, --hidden or --vocab-size\n");
    return int(unroll::ErrorKind::resource);
  } catch (const std::filesystem::filesystem_error& e) {
    std::fprintf(stderr, "unroll: %s: %s; check the path\n", e.path1().c_str(),
                 e.code().message().c_str());
    return int(unroll::ErrorKind::disk);
  } catch (const std::system_error& e) {  // fmt's, of a write
    if (std::ferror(stdout)) return unroll::cli::unwritten_output(e.code().value());
    std::fprintf(stderr, "unroll: %s\n", e.what());
    return int(unroll::ErrorKind::internal);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "unroll: %s\n", e.what());
    return int(unroll::ErrorKind::internal);
  }
}
