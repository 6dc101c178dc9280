// What training any kind of model begins with: the vocabulary, the texts as ids, the run's
// config.toml.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/data/corpus.h"
#include "host/data/vocab.h"
#include "host/io/config.h"
#include "host/io/run_dir.h"
#include "models/cli/terminal.h"

namespace unroll::cli {

struct Texts {
  Corpus train, valid, test;
  bool has_test = false;
};

// The run directory of a new run. One that was made for it goes away again if the run is refused.
struct NewRun {
  explicit NewRun(const std::string& path)
      : temporary(!std::filesystem::exists(path)), dir(RunDir::create(path)), lock(dir) {}
  NewRun(const NewRun&) = delete;
  NewRun& operator=(const NewRun&) = delete;
  ~NewRun() {
    std::error_code ignored;
    if (temporary) std::filesystem::remove_all(dir.path, ignored);
  }
  bool temporary;  // until the run is set up
  const RunDir dir;
  const RunLock lock;
};

void write_config(const Config& config, const RunDir& run);

// The vocabulary of another model or of a file, or one made from the training text.
Vocab make_vocab(const Config& config);

// Encodes the texts into the run directory, with warnings about what is odd in them.
Texts make_texts(const Config& config, const Vocab& vocab, const RunDir& run, Terminal& terminal);

// Says how long the texts and the vocabulary are, and where they came from.
void describe_texts(Terminal& terminal, const Config& config, const Texts& texts,
                    const Vocab& vocab);

// What a trained model suggests to do with it.
void describe_next_steps(Terminal& terminal, const RunDir& run);

}  // namespace unroll::cli
