// N-gram models as ARPA text, read and written without loss: numbers are written with the fewest
// digits that give back the same bits, n-grams in lexicographic order of their ids.
//
// <s> and </s> are the ARPA names of a sentence's start and of <eos>. Words are spelt as in
// Vocab::to_text(), so that none holds a blank.
#pragma once

#include <string>

#include "host/data/vocab.h"
#include "host/ngram/ngram_file.h"

namespace unroll {

// A model whose words and log10 values come from an ARPA file.
struct ArpaModel {
  Vocab vocab;
  NgramFile file;
};

// Reads a model; its vocabulary is the file's unigrams in their order, or `vocab` where given,
// which must then hold them all. A word of the vocabulary without a unigram is never predicted.
// Throws Error(usage) if the file cannot be opened, Error(model) "file:line: ..." where it is not
// as the format demands, ends early, or lists an n-gram without the one it begins with.
ArpaModel read_arpa(const std::string& path, const Vocab* vocab = nullptr);

// Whether a file begins like ARPA text (a line \data\ among its first ones).
bool looks_like_arpa(std::string_view first_bytes);

// Writes a model as ARPA text, whole or not at all. Throws Error(disk).
void write_arpa(const std::string& path, const NgramFile& file, const Vocab& vocab);

}  // namespace unroll
