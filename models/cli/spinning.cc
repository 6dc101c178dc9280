#include "models/cli/spinning.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace unroll::cli {
namespace {

constexpr double kBusy = 0.5;  // processes that wanted a core, on average over the last minute

}  // namespace

void limit_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  double load = 0;
  if (getloadavg(&load, 1) != 1 || load < kBusy) return;
  // By its own name, which process lists then show.
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error || setenv("GOMP_SPINCOUNT", "1000", 0) != 0) return;
  execv(program.c_str(), argv);
}

}  // namespace unroll::cli
