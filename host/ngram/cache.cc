// Unigram, decaying unigram and bigram caches with constant-time updates.
#include "host/ngram/cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>

#include "kernels/base/error.h"

namespace unroll {
namespace {

// The last `capacity` words of a text.
class Ring {
 public:
  explicit Ring(size_t capacity) : words_(capacity) {}
  size_t size() const { return size_; }
  bool full() const { return size_ == words_.size(); }
  // The word i places back, 1 being the latest; i <= size().
  int32_t back(size_t i) const { return words_[(end_ + words_.size() - i) % words_.size()]; }
  void push(int32_t id) {
    words_[end_] = id;
    end_ = (end_ + 1) % words_.size();
    size_ = std::min(size_ + 1, words_.size());
  }

 private:
  std::vector<int32_t> words_;
  size_t end_ = 0, size_ = 0;
};

class UnigramCache final : public WordCache {
 public:
  UnigramCache(int64_t V, size_t window) : ring_(window), counts_(size_t(V)) {}
  void add(int32_t id) override {
    if (ring_.full()) --counts_[size_t(ring_.back(ring_.size()))];
    ++counts_[size_t(id)];
    ring_.push(id);
  }
  bool empty() const override { return ring_.size() == 0; }
  double probability(int32_t id) const override {
    return empty() ? 0 : double(counts_[size_t(id)]) / double(ring_.size());
  }
  void distribution(std::span<double> p) const override {
    for (size_t w = 0; w < p.size(); ++w) p[w] = probability(int32_t(w));
  }

 private:
  Ring ring_;
  std::vector<uint32_t> counts_;
};

class DecayingCache final : public WordCache {
 public:
  DecayingCache(int64_t V, double lambda) : lambda_(lambda), weights_(size_t(V)) {}
  void add(int32_t id) override {
    total_ = total_ * std::exp(-lambda_) + 1;
    ++time_;
    Weight& weight = weights_[size_t(id)];
    weight = {decayed(weight) + 1, time_};
  }
  bool empty() const override { return time_ == 0; }
  double probability(int32_t id) const override {
    return empty() ? 0 : decayed(weights_[size_t(id)]) / total_;
  }
  void distribution(std::span<double> p) const override {
    for (size_t w = 0; w < p.size(); ++w) p[w] = probability(int32_t(w));
  }

 private:
  // A word's weight as of the last time it was seen; its decay since then is applied when read, so
  // that a step touches one word.
  struct Weight {
    double value = 0;
    uint64_t time = 0;
  };
  double decayed(const Weight& weight) const {
    return weight.value == 0 ? 0 : weight.value * std::exp(-lambda_ * double(time_ - weight.time));
  }

  double lambda_, total_ = 0;
  uint64_t time_ = 0;
  std::vector<Weight> weights_;
};

class BigramCache final : public WordCache {
 public:
  BigramCache(int64_t V, size_t window)
      : unigram_(V, window), ring_(window + 1), followed_(size_t(V)) {}
  void add(int32_t id) override {
    if (ring_.full()) count(ring_.back(ring_.size()), ring_.back(ring_.size() - 1), -1);
    if (ring_.size() > 0) count(ring_.back(1), id, 1);
    ring_.push(id);
    unigram_.add(id);
  }
  bool empty() const override { return unigram_.empty(); }
  double probability(int32_t id) const override {
    if (empty()) return 0;
    const int32_t previous = ring_.back(1);
    const uint32_t total = followed_[size_t(previous)];
    if (total == 0) return unigram_.probability(id);
    const auto found = pairs_.find(pair(previous, id));
    return found == pairs_.end() ? 0 : double(found->second) / total;
  }
  void distribution(std::span<double> p) const override {
    const int32_t previous = empty() ? 0 : ring_.back(1);
    const uint32_t total = empty() ? 0 : followed_[size_t(previous)];
    if (total == 0) return unigram_.distribution(p);
    std::ranges::fill(p, 0);
    for (size_t i = 1; i < ring_.size(); ++i) {
      if (ring_.back(i + 1) == previous) p[size_t(ring_.back(i))] += 1.0 / total;
    }
  }

 private:
  static uint64_t pair(int32_t first, int32_t second) {
    return uint64_t(uint32_t(first)) << 32 | uint32_t(second);
  }
  void count(int32_t first, int32_t second, int change) {
    followed_[size_t(first)] += uint32_t(change);
    const auto at = pairs_.try_emplace(pair(first, second), 0).first;
    at->second += uint32_t(change);
    if (at->second == 0) pairs_.erase(at);
  }

  UnigramCache unigram_;
  Ring ring_;  // one word more than the window: the predecessor of its oldest word
  std::vector<uint32_t> followed_;
  std::unordered_map<uint64_t, uint32_t> pairs_;
};

const char* kind_name(CacheSpec::Kind kind) {
  switch (kind) {
    case CacheSpec::Kind::unigram:
      return "unigram";
    case CacheSpec::Kind::decay:
      return "decay";
    case CacheSpec::Kind::bigram:
      return "bigram";
  }
  return "";
}

CacheSpec parse_cache_spec(const std::string& item) {
  const size_t colon = std::min(item.find(':'), item.size());
  const std::string kind = item.substr(0, colon);
  const std::string words = colon < item.size() ? item.substr(colon + 1) : "";
  for (const auto candidate :
       {CacheSpec::Kind::unigram, CacheSpec::Kind::decay, CacheSpec::Kind::bigram}) {
    if (kind != kind_name(candidate)) continue;
    CacheSpec spec{candidate, 0};
    const auto result = std::from_chars(words.data(), words.data() + words.size(), spec.words);
    const bool whole = candidate == CacheSpec::Kind::decay || std::floor(spec.words) == spec.words;
    if (result.ec == std::errc() && result.ptr == words.data() + words.size() && whole &&
        spec.words >= 1 && spec.words <= 1e8) {
      return spec;
    }
  }
  throw Error(ErrorKind::usage,
              fmt::format("'{}' is no cache; give a list of unigram:WORDS, decay:WORDS and "
                          "bigram:WORDS with 1 to 1e8 words, e.g. decay:100,bigram:500",
                          item));
}

}  // namespace

std::vector<CacheSpec> parse_cache_specs(const std::string& text) {
  std::vector<CacheSpec> specs;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    specs.push_back(parse_cache_spec(text.substr(at, end - at)));
    at = end + 1;
  }
  return specs;
}

std::string name_of(const CacheSpec& spec) {
  return fmt::format("{}:{}", kind_name(spec.kind), spec.words);
}

std::unique_ptr<WordCache> make_cache(const CacheSpec& spec, int64_t V) {
  switch (spec.kind) {
    case CacheSpec::Kind::unigram:
      return std::make_unique<UnigramCache>(V, size_t(spec.words));
    case CacheSpec::Kind::decay:
      return std::make_unique<DecayingCache>(V, 1 / spec.words);
    case CacheSpec::Kind::bigram:
      return std::make_unique<BigramCache>(V, size_t(spec.words));
  }
  throw Error("make_cache: unknown kind of cache");
}

std::vector<double> cache_probabilities(const CacheSpec& spec, const Corpus& text, int64_t V,
                                        std::span<const double> model) {
  UNROLL_CHECK(model.size() == text.size(), "cache_probabilities: one model value per token");
  const std::unique_ptr<WordCache> cache = make_cache(spec, V);
  std::vector<double> p(text.size());
  for (uint64_t i = 0; i < text.size(); ++i) {
    const int32_t id = text[i];
    if (id < 0 || id >= V) {
      throw Error(ErrorKind::data,
                  fmt::format("token {} of the text has id {}, the vocabulary has V = {}; encode "
                              "the text with the model's vocabulary",
                              i, id, V));
    }
    p[i] = cache->empty() ? model[i] : cache->probability(id);
    cache->add(id);
  }
  return p;
}

}  // namespace unroll
