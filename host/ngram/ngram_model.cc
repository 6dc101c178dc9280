// An n-gram language model: training from counts to pruning, files, queries.
#include "host/ngram/ngram_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "host/io/atomic_file.h"
#include "host/ngram/arpa.h"
#include "host/ngram/counts.h"
#include "host/ngram/prune.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

using nlohmann::json;

void check_options(const NgramOptions& options) {
  const auto refuse = [](const std::string& message) { throw Error(ErrorKind::usage, message); };
  if (options.order < 1 || options.order > kMaxNgramOrder) {
    refuse(fmt::format("order {} is out of range; give --order from 1 to {}", options.order,
                       kMaxNgramOrder));
  }
  if (options.min_count.size() > size_t(options.order)) {
    refuse(
        fmt::format("cut-offs {} are {} numbers for a model of order {}; give at most one per "
                    "order, lowest first",
                    fmt::join(options.min_count, ","), options.min_count.size(), options.order));
  }
  if (!options.min_count.empty() && options.min_count[0] > 1) {
    refuse(
        "the first cut-off, that of the unigrams, must be 1: a smaller vocabulary is made by "
        "--vocab-size or --min-count");
  }
  if (!(options.prune >= 0 && options.prune < 1)) {
    refuse(
        fmt::format("pruning threshold {} is out of range; give --prune from 0 up to 1, "
                    "e.g. 1e-8",
                    options.prune));
  }
}

int threads_or_all(int threads) {
  return threads > 0 ? threads : int(std::max(1u, std::thread::hardware_concurrency()));
}

SortSettings sort_settings(const NgramOptions& options) {
  return {options.memory, threads_or_all(options.threads),
          !options.folder.empty() ? options.folder : temporary_folder()};
}

std::vector<std::vector<uint64_t>> copy_counts(const NgramFile& file) {
  std::vector<std::vector<uint64_t>> counts(size_t(file.order()) + 1);
  for (int n = 1; n <= file.order(); ++n) {
    const NgramLevel& level = file.level(n);
    counts[size_t(n)].reserve(level.count);
    for (uint64_t i = 0; i < level.count; ++i) {
      counts[size_t(n)].push_back(uint64_t(level.log10_prob(i)));
    }
  }
  return counts;
}

json config_of(const NgramOptions& options, const Corpus& text,
               const std::vector<NgramDiscounts>& discounts) {
  json orders = json::array();
  for (const NgramDiscounts& d : discounts) {
    orders.push_back({{"types", d.types}, {"n", d.n}, {"D", d.D}, {"fallback", d.fallback}});
  }
  return {{"model", "ngram"},          {"smoothing", "interpolated modified Kneser-Ney"},
          {"order", options.order},    {"min_count", options.min_count},
          {"prune", options.prune},    {"tokens", text.size()},
          {"sentences", text.lines()}, {"orders", orders}};
}

std::string first_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(4096, '\0');
  file.read(bytes.data(), std::streamsize(bytes.size()));
  bytes.resize(size_t(std::max<std::streamsize>(0, file.gcount())));
  return bytes;
}

}  // namespace

NgramModel NgramModel::train(const Corpus& text, const Vocab& vocab, const NgramOptions& options) {
  check_options(options);
  UNROLL_CHECK(text.size() == 0 || text.eos() == vocab.eos(),
               "NgramModel::train: the text is not in the ids of the vocabulary");
  const SortSettings settings = sort_settings(options);
  ProgressMeter meter(options.progress);
  NgramFile file = count_ngrams(text, vocab.size(), options.order, settings, meter);

  const bool cut_off = std::ranges::any_of(options.min_count, [](uint64_t c) { return c > 1; });
  std::vector<std::vector<uint64_t>> counts;
  if (cut_off || options.prune > 0) counts = copy_counts(file);
  std::optional<std::array<double, 3>> fallback;
  if (options.discount_fallback) fallback = kFallbackDiscounts;
  const auto discounts = estimate_kneser_ney(file, fallback, settings.threads, meter);
  if (cut_off) {
    NgramKeep keep = keep_frequent(counts, options.min_count);
    file = drop_ngrams(file, std::move(keep), counts, options.memory, settings.folder);
  }
  if (options.prune > 0) {
    NgramKeep keep = keep_informative(file, counts, options.prune);
    file = drop_ngrams(file, std::move(keep), counts, options.memory, settings.folder);
  }
  meter.finish();
  return NgramModel(std::move(file), vocab, config_of(options, text, discounts).dump());
}

bool NgramModel::is_model_file(const std::string& path) {
  const std::string bytes = first_bytes(path);
  return NgramFile::has_magic(bytes) || looks_like_arpa(bytes);
}

NgramModel NgramModel::open(const std::string& path, const Vocab* vocab) {
  if (looks_like_arpa(first_bytes(path))) {
    ArpaModel arpa = read_arpa(path, vocab);
    const json config = {{"model", "ngram"}, {"source", "ARPA"}, {"order", arpa.file.order()}};
    return NgramModel(std::move(arpa.file), std::move(arpa.vocab), config.dump());
  }
  NgramFile file = NgramFile::open(path);
  Vocab own = Vocab::deserialize(file.vocabulary(), path);
  if (own.size() != file.vocab_size() || own.eos() != int32_t(file.eos())) {
    throw Error(ErrorKind::model,
                fmt::format("{}: its vocabulary has {} words, its unigrams are {}; train or "
                            "convert the model again",
                            path, own.size(), file.vocab_size()));
  }
  if (vocab && vocab->hash() != own.hash()) {
    throw Error(ErrorKind::model,
                fmt::format("{}: its vocabulary ({} words, hash {}) is not the one asked for ({} "
                            "words, hash {}); train it with --vocab-of of the other model",
                            path, own.size(), own.hash(), vocab->size(), vocab->hash()));
  }
  std::string config(file.config());
  if (!json::accept(config)) {
    throw Error(ErrorKind::model,
                fmt::format("{}: byte offset {}: the configuration is no JSON text; train or "
                            "convert the model again",
                            path, file.bytes() - config.size()));
  }
  return NgramModel(std::move(file), std::move(own), std::move(config));
}

void NgramModel::save(const std::string& path) const {
  file_.save(path, vocab_.serialize(), config_);
}

void NgramModel::save_arpa(const std::string& path) const { write_arpa(path, file_, vocab_); }

NgramInfo NgramModel::info() const {
  NgramInfo info;
  info.order = file_.order();
  info.V = file_.vocab_size();
  for (int n = 1; n <= file_.order(); ++n) {
    info.ngrams.push_back(file_.level(n).count - (n == 1 ? 1 : 0));
  }
  info.bytes = file_.bytes();
  info.config = config_;
  const json config = json::parse(config_);
  info.tokens = config.value("tokens", uint64_t(0));
  info.sentences = config.value("sentences", uint64_t(0));
  for (const json& order : config.value("orders", json::array())) {
    NgramDiscounts d;
    d.types = order.at("types");
    d.n = order.at("n");
    d.D = order.at("D");
    d.fallback = order.at("fallback");
    info.discounts.push_back(d);
  }
  return info;
}

double NgramModel::log_prob(std::span<const int32_t> context, int32_t id) const {
  const auto check = [&](int32_t word) {
    if (word < 0 || word >= file_.vocab_size()) {
      throw Error(ErrorKind::usage, fmt::format("token id {} is outside the vocabulary of V = {}",
                                                word, file_.vocab_size()));
    }
  };
  State state = start();
  for (const int32_t word : context) {
    check(word);
    advance(state, word);
  }
  check(id);
  return advance(state, id);
}

void NgramModel::distribution(State state, std::span<double> p) const {
  UNROLL_CHECK(int64_t(p.size()) == file_.vocab_size(), "distribution: p must have V elements");
  // Shortest context first: each longer one scales what is there and overwrites what it knows.
  NgramNode contexts[kMaxNgramOrder];
  int depth = 0;
  for (NgramNode node = state; node.level() > 0; node = file_.entry(node).link()) {
    contexts[depth++] = node;
  }
  const NgramLevel& unigrams = file_.level(1);
  for (size_t w = 0; w < p.size(); ++w) p[w] = std::exp(kLn10 * unigrams.log10_prob(w));
  while (depth-- > 0) {
    const NgramEntry* entry = &file_.entry(contexts[depth]);
    const NgramLevel& level = file_.level(contexts[depth].level() + 1);
    const double backoff = std::exp(kLn10 * entry->log10_backoff);
    for (double& x : p) x *= backoff;
    for (uint64_t c = entry[0].first_child; c < entry[1].first_child; ++c) {
      p[level.words[c]] = std::exp(kLn10 * level.log10_prob(c));
    }
  }
}

int32_t NgramModel::sample(State state, double uniform) const {
  std::vector<double> p(size_t(file_.vocab_size()));
  distribution(state, p);
  size_t w = 0;
  while (w + 1 < p.size() && (uniform -= p[w]) >= 0) ++w;
  return int32_t(w);
}

double NgramModel::score(const Corpus& text, std::span<double> nats, int threads) const {
  UNROLL_CHECK(nats.size() == text.size(), "score: nats must have one element per token");
  for (uint64_t i = 0; i < text.size(); ++i) {
    if (text[i] < 0 || text[i] >= file_.vocab_size()) {
      throw Error(ErrorKind::data,
                  fmt::format("token {} of the text has id {}, the model's vocabulary has V = {}; "
                              "encode the text with the model's vocabulary",
                              i, text[i], file_.vocab_size()));
    }
  }
  const int64_t lines = int64_t(text.lines());
#pragma omp parallel for num_threads(threads_or_all(threads)) schedule(dynamic, 64)
  for (int64_t line = 0; line < lines; ++line) {
    State state = start();
    for (uint64_t i = text.line_start(uint64_t(line)); i < text.line_start(uint64_t(line) + 1);
         ++i) {
      nats[i] = advance(state, text[i]);
    }
  }
  double sum = 0;
  for (const double x : nats) sum += x;
  return sum;
}

}  // namespace unroll
