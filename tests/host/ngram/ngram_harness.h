// Small texts and files for the tests of n-gram models, and a second, naive Kneser-Ney.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "host/data/corpus.h"
#include "host/data/vocab.h"
#include "host/ngram/ngram_model.h"
#include "kernels/base/error.h"

namespace unroll::test {

using Lines = std::vector<std::vector<int32_t>>;

// A vocabulary w0 .. w<words-1>, <eos>, <unk>: V = words + 2, <eos> = words.
inline Vocab small_vocab(int words) {
  std::string list;
  for (int i = 0; i < words; ++i) list += "w" + std::to_string(i) + "\n";
  return Vocab::parse(list + "<eos>\n<unk>\n", Unit::word, "small_vocab");
}

// Sentences of a random second-order process over `words` words with a skewed distribution, so that
// all counts of counts are filled.
inline Lines random_lines(int words, int sentences, uint32_t seed) {
  std::mt19937 random(seed);
  Lines lines(static_cast<size_t>(sentences));
  for (auto& line : lines) {
    const int length = static_cast<int>(random() % 12);
    int32_t a = 0, b = 0;
    for (int i = 0; i < length; ++i) {
      const double u = static_cast<double>(random() % 10007) / 10007;
      const int32_t step = static_cast<int32_t>(u * u * u * words);
      const int32_t word = (a + 3 * b + step) % words;
      line.push_back(word);
      a = b;
      b = word;
    }
  }
  return lines;
}

// The definition, over maps: n-grams as vectors, counts by looking at every position.
class NaiveKneserNey {
 public:
  using Ngram = std::vector<int32_t>;

  NaiveKneserNey(const Lines& lines, int order, int32_t eos, int64_t V,
                 const std::vector<std::array<double, 3>>& discounts)
      : V_(V), D_(discounts), counts_(static_cast<size_t>(order) + 1) {
    std::vector<std::map<Ngram, double>> raw(counts_.size());
    for (Ngram line : lines) {
      line.insert(line.begin(), kStart);
      line.push_back(eos);
      for (size_t i = 0; i < line.size(); ++i) {
        for (size_t n = 1; n <= size_t(order) && i + n <= line.size(); ++n) {
          ++raw[n][Ngram(line.begin() + long(i), line.begin() + long(i + n))];
        }
      }
    }
    counts_[size_t(order)] = raw[size_t(order)];
    for (size_t n = 1; n < size_t(order); ++n) {
      for (const auto& [longer, count] : raw[n + 1])
        ++counts_[n][Ngram(longer.begin() + 1, longer.end())];
      for (const auto& [ngram, count] : raw[n]) {
        if (ngram[0] == kStart) counts_[n][ngram] = count;
      }
    }
    counts_[1].erase({kStart});
  }

  static constexpr int32_t kStart = -1;

  std::array<uint64_t, 4> counts_of_counts(size_t n) const {
    std::array<uint64_t, 4> result{};
    for (const auto& [ngram, count] : counts_[n]) {
      if (count <= 4) ++result[size_t(count) - 1];
    }
    return result;
  }

  // p(word | history), the history beginning with kStart where it reaches the sentence's start.
  double probability(Ngram history, int32_t word) const {
    if (history.size() >= counts_.size() - 1) {
      history.erase(history.begin(), history.end() - long(counts_.size() - 2));
    }
    const size_t n = history.size() + 1;
    double S = 0, removed = 0, own = 0;
    Ngram ngram = history;
    ngram.push_back(0);
    for (int32_t w = 0; w < V_; ++w) {
      ngram.back() = w;
      const auto found = counts_[n].find(ngram);
      if (found == counts_[n].end()) continue;
      const double a = found->second, D = D_[n - 1][size_t(std::min(a, 3.0)) - 1];
      S += a;
      removed += D;
      if (w == word) own = a - D;
    }
    const Ngram shorter(history.begin() + (n > 1 ? 1 : 0), history.end());
    const double lower = n > 1 ? probability(shorter, word) : 1 / double(V_);
    return S == 0 ? lower : own / S + removed / S * lower;
  }

 private:
  int64_t V_;
  std::vector<std::array<double, 3>> D_;
  std::vector<std::map<Ngram, double>> counts_;
};

// A file name in a folder of its own, which goes with it.
class TemporaryFolder {
 public:
  TemporaryFolder()
      : path_(std::filesystem::temp_directory_path() /
              ("unroll-ngram-test-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}
inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

// Runs f and returns the message of the Error it must throw, whose kind must be `kind`.
template <class F>
std::string message_of(ErrorKind kind, F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return "";
}

// Sum over w of p(w | state), by asking for every word.
inline double total_probability(const NgramModel& model, NgramModel::State state) {
  double sum = 0;
  for (int32_t w = 0; w < model.vocab().size(); ++w) {
    NgramModel::State copy = state;
    sum += std::exp(model.advance(copy, w));
  }
  return sum;
}

// The state after a random history of up to `length` words, seen or not.
inline NgramModel::State random_state(const NgramModel& model, std::mt19937& random, int length) {
  NgramModel::State state = model.start();
  for (int i = int(random() % uint32_t(length + 1)); i > 0; --i) {
    model.advance(state, int32_t(random() % uint32_t(model.vocab().size())));
  }
  return state;
}

}  // namespace unroll::test
