#include "models/cli/score_formats.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>

#include <nlohmann/json.hpp>

#include "host/io/metrics.h"

namespace unroll::cli {
namespace {

constexpr double kLn10 = 2.302585092994045684;

std::string word_at(const ScoredLine& line, size_t i) {
  return i < line.tokens.size() ? line.tokens[i] : "<eos>";
}

double sum(const NatsLine& nats) {
  double total = 0;
  for (double n : nats) total += n;
  return total;
}

// One line of figures per input line; at level word, the words' figures follow on the same line.
class TextFormat final : public ScoreFormat {
 public:
  TextFormat(std::string level, LogBase base) : level_(std::move(level)), base_(std::move(base)) {}
  void line(const ScoredLine& line) override {
    totals_.add(line);
    if (level_ == "corpus") return;
    fmt::print("{:.6f}", -sum(line.nats) / base_.nats);
    if (level_ == "word")
      for (size_t i = 0; i < line.ids.size(); ++i)
        fmt::print(" {}{}={:.6f}", word_at(line, i), line.unknown[i] ? "(unk)" : "",
                   -line.nats[i] / base_.nats);
    std::putchar('\n');
  }
  void end() override {
    if (level_ != "corpus") return;
    fmt::print("log{} {:.6f} lines {} tokens {} unknown {} ppl {:.4f}\n", base_.name,
               -totals_.nats / base_.nats, totals_.lines, totals_.tokens, totals_.unknown,
               perplexity(totals_.nats, totals_.tokens));
  }

 private:
  std::string level_;
  LogBase base_;
  TextTotals totals_;
};

// Columns under a heading; at level word, one row per token with the number of its line.
class TsvFormat final : public ScoreFormat {
 public:
  TsvFormat(std::string level, const LogBase& base) : level_(std::move(level)), base_(base) {
    if (level_ == "word")
      fmt::print("line\tposition\tword\tunknown\tlog{}\n", base_.name);
    else
      fmt::print("{}\ttokens\tunknown\tlog{}\tppl\n", level_ == "line" ? "line" : "lines",
                 base_.name);
  }
  void line(const ScoredLine& line) override {
    totals_.add(line);
    int64_t unknown = 0;
    for (size_t i = 0; i < line.ids.size(); ++i) {
      unknown += line.unknown[i];
      if (level_ == "word")
        fmt::print("{}\t{}\t{}\t{}\t{:.6f}\n", totals_.lines, i + 1, word_at(line, i),
                   line.unknown[i] ? 1 : 0, -line.nats[i] / base_.nats);
    }
    if (level_ == "line") row(totals_.lines, int64_t(line.ids.size()), unknown, sum(line.nats));
  }
  void end() override {
    if (level_ == "corpus") row(totals_.lines, totals_.tokens, totals_.unknown, totals_.nats);
  }

 private:
  void row(int64_t first, int64_t tokens, int64_t unknown, double nats) {
    fmt::print("{}\t{}\t{}\t{:.6f}\t{:.4f}\n", first, tokens, unknown, -nats / base_.nats,
               perplexity(nats, tokens));
  }
  std::string level_;
  LogBase base_;
  TextTotals totals_;
};

// One object per line, or one in all.
class JsonFormat final : public ScoreFormat {
 public:
  JsonFormat(std::string level, LogBase base) : level_(std::move(level)), base_(std::move(base)) {}
  void line(const ScoredLine& line) override {
    totals_.add(line);
    if (level_ == "corpus") return;
    nlohmann::json j = {{"line", totals_.lines},
                        {"log_base", base_.name},
                        {"log_prob", -sum(line.nats) / base_.nats},
                        {"tokens", line.ids.size()}};
    if (level_ == "word") {
      nlohmann::json& words = j["words"] = nlohmann::json::array();
      for (size_t i = 0; i < line.ids.size(); ++i)
        words.push_back({{"word", word_at(line, i)},
                         {"unknown", bool(line.unknown[i])},
                         {"log_prob", -line.nats[i] / base_.nats}});
    }
    print(j);
  }
  void end() override {
    if (level_ == "corpus")
      print({{"lines", totals_.lines},
             {"tokens", totals_.tokens},
             {"unknown", totals_.unknown},
             {"log_base", base_.name},
             {"log_prob", -totals_.nats / base_.nats},
             {"ppl", perplexity(totals_.nats, totals_.tokens)}});
  }

 private:
  static void print(const nlohmann::json& j) {
    // Bytes that are no UTF-8 are replaced: JSON has no other way.
    std::puts(j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  }
  std::string level_;
  LogBase base_;
  TextTotals totals_;
};

// What SRILM's `ngram -ppl FILE -debug N` prints: unknown words count as OOV and are left out of
// the sums.
class SrilmFormat final : public ScoreFormat {
 public:
  SrilmFormat(std::string level, std::string file, std::string source)
      : level_(std::move(level)), file_(std::move(file)), source_(std::move(source)) {}
  void line(const ScoredLine& line) override {
    Stats s;
    s.sentences = 1;
    if (level_ != "corpus") fmt::print("{}\n", line.text);
    std::string before = "<s>";
    for (size_t i = 0; i < line.ids.size(); ++i) {
      const bool end = i + 1 == line.ids.size();
      const std::string word = end ? "</s>" : line.tokens[i];
      s.words += !end;
      s.unknown += line.unknown[i];
      if (!line.unknown[i]) s.log10 -= line.nats[i] / kLn10;
      if (level_ == "word") {
        const std::string context = before + (i > 0 ? " ..." : " ");
        if (line.unknown[i])
          fmt::print("\tp( {} | {}) \t= [OOV] 0 [ -inf ]\n", word, context);
        else
          fmt::print("\tp( {} | {}) \t= [{}] {:.6g} [ {:.6g} ]\n", word, context, source_,
                     std::exp(-line.nats[i]), -line.nats[i] / kLn10);
      }
      before = word;
    }
    if (level_ != "corpus") {
      print(s);
      std::putchar('\n');
    }
    total_.sentences += s.sentences;
    total_.words += s.words;
    total_.unknown += s.unknown;
    total_.log10 += s.log10;
  }
  void end() override {
    fmt::print("file {}: ", file_);
    print(total_);
  }

 private:
  struct Stats {
    int64_t sentences = 0, words = 0, unknown = 0;
    double log10 = 0;
  };
  static void print(const Stats& s) {
    fmt::print("{} sentences, {} words, {} OOVs\n", s.sentences, s.words, s.unknown);
    const double words = double(s.words - s.unknown);
    fmt::print("0 zeroprobs, logprob= {:.6g} ppl= {:.6g} ppl1= {}\n", s.log10,
               std::pow(10.0, -s.log10 / (words + double(s.sentences))),
               words > 0 ? fmt::format("{:.6g}", std::pow(10.0, -s.log10 / words)) : "undefined");
  }
  std::string level_, file_, source_;
  Stats total_;
};

}  // namespace

LogBase parse_log_base(const std::string& base) {
  if (base == "e") return {base, 1};
  return {base, base == "2" ? std::log(2.0) : kLn10};
}

std::unique_ptr<ScoreFormat> make_score_format(const std::string& format, const std::string& level,
                                               const LogBase& base, const std::string& file,
                                               const std::string& source) {
  if (format == "srilm") return std::make_unique<SrilmFormat>(level, file, source);
  if (format == "tsv") return std::make_unique<TsvFormat>(level, base);
  if (format == "json") return std::make_unique<JsonFormat>(level, base);
  return std::make_unique<TextFormat>(level, base);
}

}  // namespace unroll::cli
