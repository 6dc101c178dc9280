// The verbs of the program, one file each. Each declares its flags on a CLI11 sub-command and
// returns what to run once they are parsed; the result is the exit code. Errors are thrown.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "models/cli/open_model.h"

namespace unroll::cli {

using Verb = std::function<int()>;

// Group of options that --help leaves to the verb's own list, which shows ranges. (CLI11 would hide
// a group without a name, and then has no name for its options in messages either.)
inline constexpr const char* kUnlisted = "unlisted";

Verb add_train(CLI::App& app);
Verb add_eval(CLI::App& app);
Verb add_score(CLI::App& app);
Verb add_generate(CLI::App& app);
Verb add_info(CLI::App& app);
Verb add_recipes(CLI::App& app);
Verb add_selftest(CLI::App& app);

// Of verbs that use a model: --device, --threads, --precision, --eager; and for bare weights
// --vocab-of, --vocab, --unit and --cell.
void add_use_options(CLI::App& app, UseOptions& use);
// --batch and --bptt of eval and score; a NeuralScorer knows their range.
void add_shape_options(CLI::App& app, ScoringShape& shape);
// --reset, shared by eval and score; an empty one stands for how the model was trained.
void add_reset_option(CLI::App& app, std::string& reset);
Reset parse_reset(const std::string& reset, const OpenModel& model);

}  // namespace unroll::cli
