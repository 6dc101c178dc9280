// An n-gram language model: trained, saved, opened, queried. Every sentence is on its own: its
// first word is predicted from the start of the sentence, its last one is <eos>.
//
//   NgramModel model = NgramModel::train(train_text, vocab, {.order = 5});
//   model.save("kn5.ngram");
//   std::vector<double> nats(test_text.size());
//   double ppl = std::exp(-model.score(test_text, nats) / double(nats.size()));
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/data/corpus.h"
#include "host/data/vocab.h"
#include "host/ngram/kneser_ney.h"
#include "host/ngram/ngram_file.h"
#include "host/ngram/progress.h"

namespace unroll {

struct NgramOptions {
  int order = 5;
  std::vector<uint64_t> min_count = {};  // n-grams of order n seen less often than
                                         // min_count[n-1] are dropped; 1 or missing: none are.
                                         // Unigrams are always kept
  double prune = 0;                      // entropy pruning threshold, e.g. 1e-8; 0: none
  bool discount_fallback = false;        // kFallbackDiscounts where the formula fails
  uint64_t memory = uint64_t(4) << 30;   // bytes; beyond it temporary files are used
  int threads = 0;                       // 0: one per core
  std::string folder = {};               // of temporary files; empty: $TMPDIR, else the system's
  NgramProgressCallback progress = {};
};

struct NgramInfo {
  int order = 0;
  int64_t V = 0;
  std::vector<uint64_t> ngrams;           // stored, per order; <s> is none of the unigrams
  std::vector<NgramDiscounts> discounts;  // of training, before pruning; empty: read from ARPA
  uint64_t tokens = 0, sentences = 0;     // of the training text; 0: read from ARPA
  uint64_t bytes = 0;
  std::string config;  // JSON object
};

class NgramModel {
 public:
  // Where in a sentence the model is: the longest stored end of the history. A small value.
  using State = NgramNode;

  // Interpolated modified Kneser-Ney over a text in the ids of `vocab`. Throws Error(data) on an
  // empty text, ids outside the vocabulary, or discounts out of range; Error(usage) on options out
  // of range; Error(resource | disk) where memory or temporary files do not suffice.
  static NgramModel train(const Corpus& text, const Vocab& vocab, const NgramOptions& options);
  // Opens a file of save() or an ARPA file, told apart by their content. With `vocab` the model
  // answers in its ids: an ARPA file is read into them, a saved model must have the same vocabulary
  // (compared by hash). Throws Error(usage | model).
  static NgramModel open(const std::string& path, const Vocab* vocab = nullptr);
  // Whether a file is one that open() reads, by its first bytes. False if it cannot be read.
  static bool is_model_file(const std::string& path);

  void save(const std::string& path) const;       // throws Error(disk)
  void save_arpa(const std::string& path) const;  // throws Error(disk)

  const Vocab& vocab() const { return vocab_; }
  NgramInfo info() const;

  State start() const { return file_.start(); }  // before the first word of a sentence
  // log p(id | state) in nats; the state takes in the word, <eos> leads back to start().
  // Requires 0 <= id < V.
  double advance(State& state, int32_t id) const {
    const double log10_prob = file_.advance(state, uint32_t(id));
    if (uint32_t(id) == file_.eos()) state = file_.start();
    return log10_prob * kLn10;
  }
  // log p(id | context) in nats, `context` being all tokens before it: what comes after its last
  // <eos> counts. Throws Error(usage) on ids outside the vocabulary.
  double log_prob(std::span<const int32_t> context, int32_t id) const;
  // p(w | state) for all w < V, summing to 1.
  void distribution(State state, std::span<double> p) const;
  // The word at which the cumulative distribution passes `uniform` in [0, 1).
  int32_t sample(State state, double uniform) const;
  // Writes log p of every token in nats (text.size() values) and returns their sum, which does not
  // depend on the number of threads; 0 is one per core. Throws Error(data) on ids outside the
  // vocabulary.
  double score(const Corpus& text, std::span<double> nats, int threads = 1) const;

 private:
  static constexpr double kLn10 = 2.302585092994045684;
  NgramModel(NgramFile file, Vocab vocab, std::string config)
      : file_(std::move(file)), vocab_(std::move(vocab)), config_(std::move(config)) {}

  NgramFile file_;
  Vocab vocab_;
  std::string config_;
};

}  // namespace unroll
