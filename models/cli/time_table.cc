#include "models/cli/time_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace unroll::cli {

std::string time_table(const StepTimes::Report& report) {
  if (report.chunks == 0)
    return fmt::format("times     none: the first {} chunks do not count, and there were no more\n",
                       StepTimes::kWarmUp);
  double forward = 0, backward = 0;
  size_t width = 28;
  const auto name = [](const StepTimes::Row& row) {
    return row.op + (row.part.empty() ? "" : ": " + row.part);
  };
  for (const StepTimes::Row& row : report.rows) {
    forward += row.forward;
    backward += row.backward;
    width = std::max(width, name(row).size());
  }
  std::string table = fmt::format("{:<{}}  {:>9}  {:>9}   share\n",
                                  fmt::format("ms a chunk, mean of {}", report.chunks), width,
                                  "forward", "backward");
  const auto line = [&](const std::string& what, double f, double b) {
    table += fmt::format("{:<{}}  {:>9.3f}  {:>9.3f}  {:>5.1f}%\n", what, width, 1000 * f, 1000 * b,
                         100 * (f + b) / (forward + backward));
  };
  for (const StepTimes::Row& row : report.rows) line(name(row), row.forward, row.backward);
  line("all, one after another", forward, backward);
  return table;
}

}  // namespace unroll::cli
