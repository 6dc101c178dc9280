// Trains an n-gram model: counts, estimate, files, perplexities.
#include "models/cli/train_ngram.h"

#include <fmt/format.h>

#include <cstdio>

#include "host/data/splits.h"
#include "host/device/clock.h"
#include "host/io/atomic_file.h"
#include "host/io/metrics.h"
#include "host/io/run_log.h"
#include "host/ngram/ngram_model.h"
#include "models/cli/train_texts.h"

namespace unroll::cli {
namespace {

NgramOptions ngram_options(const Config& config, Terminal& terminal) {
  NgramOptions options;
  options.order = int(config.order);
  options.min_count = config.cutoff_counts();
  options.prune = config.prune;
  options.discount_fallback = config.discount_fallback;
  options.memory = uint64_t(config.memory);
  options.threads = int(config.threads);
  options.progress = [&terminal](const NgramProgress& p) {
    terminal.working(fmt::format("{} | {:.0f}% | {} | ETA {}", p.stage, 100 * p.fraction,
                                 human_duration(p.elapsed_s),
                                 p.fraction > 0 ? human_duration(p.eta_s) : "?"));
  };
  return options;
}

// What was counted, per order, for people and for the log.
void describe_orders(const NgramInfo& info, RunLog& log, Terminal& terminal) {
  terminal.say(
      "order        n-grams         kept        n1        n2        n3        n4      D1      D2   "
      "  D3+");
  for (size_t i = 0; i < info.discounts.size(); ++i) {
    const NgramDiscounts& d = info.discounts[i];
    terminal.say(fmt::format(
        "{:>5} {:>14} {:>12} {:>9} {:>9} {:>9} {:>9}  {:.4f}  {:.4f}  {:.4f}{}", i + 1,
        with_commas(int64_t(d.types)), with_commas(int64_t(info.ngrams[i])), d.n[0], d.n[1], d.n[2],
        d.n[3], d.D[0], d.D[1], d.D[2], d.fallback ? " (fallback)" : ""));
    LogRecord record;
    record.add("kind", "order")
        .add("order", int64_t(i + 1))
        .add("types", d.types)
        .add("kept", info.ngrams[i]);
    for (size_t j = 0; j < d.n.size(); ++j) record.add(fmt::format("n{}", j + 1), d.n[j]);
    for (size_t j = 0; j < d.D.size(); ++j) record.add(fmt::format("D{}", j + 1), d.D[j]);
    log.append(record.add("fallback", d.fallback));
  }
}

double report_perplexity(const char* name, const NgramModel& model, const Corpus& text,
                         int threads) {
  std::vector<double> nats(text.size());
  const double ppl = perplexity(-model.score(text, nats, threads), int64_t(text.size()));
  std::printf("%s ppl %.2f (%s tokens)\n", name, ppl, with_commas(int64_t(text.size())).c_str());
  return ppl;
}

}  // namespace

int train_ngram(Config config, const std::string& out, const std::string& arpa,
                Terminal& terminal) {
  const double begin = seconds_now();
  NewRun new_run(out);
  const RunDir& run = new_run.dir;
  if (!arpa.empty()) AtomicFile probe(arpa);  // where it cannot be written, that shows now
  config.train = spool_standard_input(config.train, "--train", run.path + "/train.txt");
  config.valid = spool_standard_input(config.valid, "--valid", run.path + "/valid.txt");
  const Vocab vocab = make_vocab(config);
  config.unit = name_of(vocab.unit());  // which vocab_of decides
  const Texts texts = make_texts(config, vocab, run, terminal);
  describe_texts(terminal, config, texts, vocab);

  const NgramModel model = NgramModel::train(texts.train, vocab, ngram_options(config, terminal));
  const double trained = seconds_now() - begin;
  model.save(run.ngram());
  new_run.temporary = false;
  if (!arpa.empty()) model.save_arpa(arpa);

  write_config(config, run);
  RunLog log(run.log());
  const NgramInfo info = model.info();
  log.append(LogRecord()
                 .add("kind", "ngram")
                 .add("order", info.order)
                 .add("tokens", info.tokens)
                 .add("sentences", info.sentences)
                 .add("vocabulary", info.V)
                 .add("bytes", info.bytes)
                 .add("seconds", trained));
  describe_orders(info, log, terminal);
  LogRecord end;
  end.add("kind", "end");
  end.add("valid_ppl", report_perplexity("valid", model, texts.valid, int(config.threads)));
  if (texts.has_test)
    end.add("test_ppl", report_perplexity("test", model, texts.test, int(config.threads)));
  log.append(end.add("seconds", seconds_now() - begin));
  terminal.say(fmt::format("(every line on its own; trained in {:.1f} s; {} in {}{})", trained,
                           human_bytes(double(info.bytes)), run.ngram(),
                           arpa.empty() ? "" : " and " + arpa));
  describe_next_steps(terminal, run);
  return 0;
}

}  // namespace unroll::cli
