// unroll info and unroll recipes: what there is.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "host/io/run_dir.h"
#include "host/io/run_log.h"
#include "models/cli/verbs.h"
#include "models/recipes/recipes.h"

namespace unroll::cli {
namespace {

// The last validation and how far training came, from a run's log.
void add_progress(const std::string& run, nlohmann::json& j) {
  const std::string log = RunDir{run}.log();
  if (!std::filesystem::exists(log)) return;
  for (const LogRecord& record : RunLog::read(log)) {
    const std::string kind = record.text("kind");
    if (kind == "train") j["last_step"] = int64_t(record.number("step"));
    if (kind == "valid") {
      j["last_step"] = int64_t(record.number("step"));
      j["epochs_done"] = int64_t(record.number("epoch"));
      j["last_valid_ppl"] = record.number("ppl");
      j["best_valid_ppl"] = record.number("best_ppl");
    }
    if (kind == "end") {
      j["valid_ppl"] = record.number("valid_ppl");
      if (record.find("test_ppl")) j["test_ppl"] = record.number("test_ppl");
    }
  }
}

int info(const std::string& argument, bool json) {
  UseOptions use;
  use.device = "cpu";
  const bool run = std::filesystem::is_directory(argument);
  nlohmann::json j;
  if (run && !std::filesystem::exists(RunDir{argument}.model()) &&
      std::filesystem::exists(RunDir{argument}.state()))
    j = {{"path", argument}, {"model", "none yet: it is written after the first validation"}};
  else
    j = open_model(argument, use)->info();
  if (run) add_progress(argument, j);
  if (json) {
    std::printf("%s\n", j.dump(2).c_str());
    return 0;
  }
  for (const auto& [key, value] : j.items()) {
    if (key == "config" || key == "tensors") continue;
    fmt::print("{:<18} {}\n", key,
               value.is_string()         ? value.get<std::string>()
               : value.is_number_float() ? fmt::format("{:.2f}", value.get<double>())
                                         : value.dump());
  }
  if (j.contains("tensors")) {
    fmt::print("\n");
    for (const auto& t : j["tensors"])
      fmt::print("{:<28} {:<5} {}\n", t["name"].get<std::string>(), t["dtype"].get<std::string>(),
                 t["shape"].dump());
  }
  if (j.contains("config")) fmt::print("\n{}", j["config"].get<std::string>());
  return 0;
}

int list_recipes(const std::string& name) {
  if (!name.empty()) {
    std::fputs(find_recipe(name).text.c_str(), stdout);
    return 0;
  }
  for (const Recipe& r : recipes()) fmt::print("{:<26} {}\n", r.name, r.summary);
  return 0;
}

}  // namespace

Verb add_info(CLI::App& app) {
  auto argument = std::make_shared<std::string>();
  auto json = std::make_shared<bool>(false);
  app.add_option("MODEL", *argument, "run directory or model file")->required();
  app.add_flag("--json", *json, "one JSON object");
  return [argument, json] { return info(*argument, *json); };
}

Verb add_recipes(CLI::App& app) {
  auto name = std::make_shared<std::string>();
  app.add_option("NAME", *name, "print this recipe's text");
  return [name] { return list_recipes(*name); };
}

}  // namespace unroll::cli
