// A model's weights to and from model.safetensors, under PyTorch's names.
#pragma once

#include <string>

#include "host/data/vocab.h"
#include "host/io/checkpoint.h"
#include "host/memory/param_store.h"
#include "host/train/snapshot_writer.h"

namespace unroll {

// Has weights as they are now, vocabulary and configuration written; a tied output matrix is stored
// once and named as an alias in the metadata. `extra` adds metadata, e.g. step and perplexity. The
// vocabulary has to outlive the write.
void save_model(SnapshotWriter& writer, const std::string& path, const ParamStore& params,
                const Config& config, const Vocab& vocab, const Metadata& extra);

// Whether a vocabulary lies in the file; weights saved from PyTorch have none unless put there.
bool has_vocab(const ModelFile& file);

// Sets every weight from the file. Throws a model Error that names the tensor and both shapes.
void load_weights(const ModelFile& file, const Backend& backend, const ParamStore& params,
                  const std::string& cell);

// Sets weights from another model: rows of words that both vocabularies have are taken over, other
// rows keep their initial values. A file without a vocabulary has to have a row for each word, in
// order. Returns what was taken, one line of English. Throws a model Error where shapes differ in
// more than the number of words.
std::string initialize_from(const ModelFile& file, const Backend& backend, const ParamStore& params,
                            const std::string& cell, const Vocab& vocab);

}  // namespace unroll
