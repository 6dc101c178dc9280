// Which files hold the text: the splits of a folder, and what can be read only once.
#pragma once

#include <string>
#include <vector>

namespace unroll {

// Standard input and pipes can be read once, but training reads its text twice (to count, then to
// encode): copies what `paths` has of them to files named `spool_path` and a number, and returns
// the paths with these in their place. Throws as TextSource, and a disk Error where a copy cannot
// be written.
std::vector<std::string> spool_standard_input(std::vector<std::string> paths,
                                              const std::string& flag,
                                              const std::string& spool_path);

// The training, validation and test text of a folder.
struct Splits {
  std::string train, valid, test;  // paths; test may be empty
};

// Looks in `dir` for one regular file with "train", one with "valid" or "dev", and at most one with
// "test" in its name (any case); hidden files and token files (kTokenFileSuffix) are passed over.
// Throws a usage Error that names both where two match, or lists what is there where none does.
Splits find_splits(const std::string& dir);

}  // namespace unroll
