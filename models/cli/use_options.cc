// Flags that several verbs share.
#include "kernels/base/error.h"
#include "models/cli/verbs.h"

namespace unroll::cli {

void add_use_options(CLI::App& app, UseOptions& use) {
  app.add_option("--device", use.device, "auto, cpu, cuda or cuda:N");
  app.add_option("--threads", use.threads, "CPU threads; 0: all cores")->check(CLI::Range(0, 4096));
  app.add_option("--precision", use.precision, "fp32 or bf16; tf32 on a GPU, fp64 on a CPU");
  app.add_option(
      "--vocab-of", use.vocab_of,
      "model whose vocabulary to use: ARPA files are read into it, other models must have it");
  app.add_flag("--eager", use.eager, "never replay captured CUDA graphs");
  const char* group = "Weights saved from PyTorch, without metadata";
  app.add_option("--vocab", use.vocab, "vocabulary: one word per line, in the order of the rows")
      ->group(group);
  app.add_option("--unit", use.unit, "what one of its lines is: word or char")
      ->check(CLI::IsMember({"word", "char"}))
      ->group(group);
  app.add_option("--cell", use.cell,
                 "relu for torch.nn.RNN(nonlinearity='relu'); other cells show in the shapes")
      ->group(group);
}

void add_shape_options(CLI::App& app, ScoringShape& shape) {
  app.add_option("--batch", shape.B,
                 "lines side by side (--reset line); does not change the result");
  app.add_option("--bptt", shape.T, "steps at a time; does not change the result");
}

void add_reset_option(CLI::App& app, std::string& reset) {
  app.add_option("--reset", reset,
                 std::string("never: one stream; line: every line from the zero state") +
                     (reset.empty() ? "; else as in training" : ""))
      ->check(CLI::IsMember({"never", "line"}))
      ->capture_default_str();
}

Reset parse_reset(const std::string& reset, const OpenModel& model) {
  if (reset.empty()) return model.reset();
  if (reset == "never" && model.info().at("kind") == "ngram")
    throw Error(ErrorKind::usage,
                "--reset never: an n-gram model takes every line on its own; leave it out");
  return reset == "line" ? Reset::line : Reset::never;
}

}  // namespace unroll::cli
