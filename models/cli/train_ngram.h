// unroll train for n-gram models.
#pragma once

#include <string>

#include "host/io/config.h"
#include "models/cli/terminal.h"

namespace unroll::cli {

// Counts the training text of `config`, which is validated, estimates the model, writes it to the
// run directory `out` (and to the ARPA file `arpa` where that is not empty), and prints validation
// and test perplexity. Returns the exit code. Throws what reading texts and NgramModel::train()
// throw.
int train_ngram(Config config, const std::string& out, const std::string& arpa, Terminal& terminal);

}  // namespace unroll::cli
