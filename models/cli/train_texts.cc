// Vocabulary, texts and settings of a run.
#include "models/cli/train_texts.h"

#include <fmt/format.h>

#include <algorithm>

#include "host/data/corpus_checks.h"
#include "host/io/atomic_file.h"
#include "host/io/metrics.h"
#include "models/cli/open_model.h"

namespace unroll::cli {
namespace {

std::string describe_text(const char* name, const std::vector<std::string>& paths,
                          const Corpus& c) {
  std::string files;
  for (const std::string& path : paths) files += (files.empty() ? "" : " ") + path;
  return fmt::format(
      "{:<9} {} tokens, {} lines, {} unknown ({:.2f}%)   {}", name, with_commas(int64_t(c.size())),
      with_commas(int64_t(c.lines())), with_commas(int64_t(c.oov_tokens())),
      100.0 * double(c.oov_tokens()) / double(std::max<uint64_t>(1, c.size())), files);
}

}  // namespace

void write_config(const Config& config, const RunDir& run) {
  AtomicFile file(run.config());
  const std::string text = config.to_toml();
  file.write(text.data(), text.size());
  file.commit();
}

Vocab make_vocab(const Config& config) {
  const Unit unit = parse_unit(config.unit);
  if (!config.vocab_of.empty()) return vocab_of(config.vocab_of);
  if (!config.vocab.empty()) return Vocab::read_file(config.vocab, unit, "--vocab");
  VocabLimits limits;
  limits.size = uint64_t(config.vocab_size);
  limits.min_count = uint64_t(config.min_count);
  return Vocab(count_types(config.train, "--train", unit), limits);
}

Texts make_texts(const Config& config, const Vocab& vocab, const RunDir& run, Terminal& terminal) {
  Texts texts;
  const auto load = [&](const std::vector<std::string>& paths, const char* name) {
    Corpus corpus({paths, "--" + std::string(name)}, vocab,
                  run.path + "/" + name + kTokenFileSuffix);
    for (const std::string& note : describe_notes(corpus.notes(), name)) terminal.warning(note);
    return corpus;
  };
  texts.train = load(config.train, "train");
  texts.valid = load(config.valid, "valid");
  texts.has_test = !config.test.empty();
  if (texts.has_test) texts.test = load(config.test, "test");
  for (const std::string& warning : check_split(texts.valid, texts.train, vocab.unit(), "valid"))
    terminal.warning(warning);
  return texts;
}

void describe_texts(Terminal& terminal, const Config& config, const Texts& texts,
                    const Vocab& vocab) {
  terminal.say(describe_text("train", config.train, texts.train));
  terminal.say(describe_text("valid", config.valid, texts.valid));
  if (texts.has_test) terminal.say(describe_text("test", config.test, texts.test));
  terminal.say(fmt::format("vocab     {} {}s, hash {}", with_commas(vocab.size()),
                           name_of(vocab.unit()), vocab.hash()));
}

void describe_next_steps(Terminal& terminal, const RunDir& run) {
  terminal.say(fmt::format("next:\n  unroll generate {} --temperature 0.8\n  unroll eval {} FILE",
                           run.path, run.path));
}

}  // namespace unroll::cli
