// Opens n-gram files behind the interface that all verbs use.
#include "models/cli/open_ngram.h"

#include <algorithm>
#include <fstream>

#include "host/ngram/arpa.h"
#include "host/ngram/ngram_model.h"
#include "host/score/ngram_scorer.h"

namespace unroll::cli {
namespace {

class OpenNgram final : public OpenModel {
 public:
  OpenNgram(const std::string& path, const Vocab* vocab)
      : path_(path), model_(NgramModel::open(path, vocab)) {}

  const Vocab& vocab() const override { return model_.vocab(); }
  Reset reset() const override { return Reset::line; }
  std::unique_ptr<TokenScorer> scorer(Reset, const ScoringShape&) override {
    return std::make_unique<NgramScorer>(model_);
  }
  std::unique_ptr<NextWord> next_word() override { return std::make_unique<NgramNextWord>(model_); }
  std::string conditions(Reset) const override { return "every line a sentence of its own"; }

  nlohmann::json info() const override {
    const NgramInfo info = model_.info();
    nlohmann::json j;
    j["kind"] = "ngram";
    j["path"] = path_;
    j["order"] = info.order;
    j["ngrams"] = info.ngrams;
    j["bytes"] = info.bytes;
    j["unit"] = name_of(vocab().unit());
    j["vocabulary"] = vocab().size();
    j["vocabulary_hash"] = vocab().hash();
    if (info.tokens > 0) j["trained_tokens"] = info.tokens;
    if (info.sentences > 0) j["trained_sentences"] = info.sentences;
    for (size_t i = 0; i < info.discounts.size(); ++i)
      j["discounts_" + std::to_string(i + 1)] = info.discounts[i].D;
    j["config"] = nlohmann::json::parse(info.config).dump(2) + "\n";
    return j;
  }

 private:
  std::string path_;
  NgramModel model_;
};

}  // namespace

bool is_arpa_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(4096, '\0');
  file.read(bytes.data(), std::streamsize(bytes.size()));
  bytes.resize(size_t(std::max<std::streamsize>(0, file.gcount())));
  return looks_like_arpa(bytes);
}

std::unique_ptr<OpenModel> open_ngram(const std::string& path, const Vocab* vocab) {
  return std::make_unique<OpenNgram>(path, vocab);
}

}  // namespace unroll::cli
