// An n-gram file, binary or ARPA, as a model of the program.
#pragma once

#include <memory>
#include <string>

#include "models/cli/open_model.h"

namespace unroll::cli {

// Whether a file begins like ARPA text. False if it cannot be read.
bool is_arpa_file(const std::string& path);

// Opens a file for which NgramModel::is_model_file() holds, in the ids of `vocab` where given.
// Throws what NgramModel::open() throws.
std::unique_ptr<OpenModel> open_ngram(const std::string& path, const Vocab* vocab);

}  // namespace unroll::cli
