// Flags that several verbs share.
#include "kernels/base/error.h"
#include "models/cli/verbs.h"

namespace unroll::cli {

void add_use_options(CLI::App& app, UseOptions& use) {
  app.add_option("--device", use.device, "auto, cpu, cuda or cuda:N");
  app.add_option("--threads", use.threads, "CPU threads; 0: all cores");
  app.add_option("--precision", use.precision, "fp32, tf32 or bf16 on a GPU; fp32 or fp64 on a CPU");
  app.add_flag("--eager", use.eager, "never replay captured CUDA graphs");
}

void add_reset_option(CLI::App& app, std::string& reset) {
  app.add_option("--reset", reset, "never: one stream, state carried over lines; line: every line anew")
      ->check(CLI::IsMember({"never", "line"}))
      ->capture_default_str();
}

Reset parse_reset(const std::string& reset) { return reset == "line" ? Reset::line : Reset::never; }

}  // namespace unroll::cli
