// The table of `unroll train --profile`.
#pragma once

#include <string>

#include "host/train/trainer.h"

namespace unroll::cli {

// Lines of text: a row for every op or part of one, in milliseconds a chunk, and their sum.
std::string time_table(const StepTimes::Report& report);

}  // namespace unroll::cli
