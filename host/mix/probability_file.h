// The probability of every token of a text as a file, so that a model on another machine or of
// another program can take part in a mixture.
//
// One 32-bit little-endian IEEE float per token, in the order of the text, <eos> of every line
// included, no header (NumPy: np.fromfile(path, '<f4')); or, where the name ends in ".txt", one
// decimal number per line. The values are probabilities, not logarithms.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace unroll {

// Writes the file, whole or not at all. A positive value below the smallest normal float is
// written as that. Throws Error(disk).
void write_probabilities(const std::string& path, std::span<const double> p);

// Reads a file of `tokens` probabilities. Throws Error(usage) if it cannot be opened, Error(data)
// naming the line or the byte offset where it holds another number of values or one outside [0, 1].
std::vector<double> read_probabilities(const std::string& path, uint64_t tokens);
// The same of a text whose length is not known yet: all values of the file.
std::vector<double> read_probabilities(const std::string& path);

}  // namespace unroll
