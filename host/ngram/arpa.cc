// ARPA text: a line reader that knows its place, levels sorted and hung below one another.
#include "host/ngram/arpa.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "host/io/atomic_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr std::string_view kArpaStart = "<s>", kArpaEnd = "</s>";

// The spelling of every word in an ARPA file, by id.
std::vector<std::string> spellings(const Vocab& vocab) {
  std::vector<std::string> words;
  const std::string text = vocab.to_text();
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = std::string_view(text).substr(at, end - at);
    words.emplace_back(line.substr(0, line.find_first_of(" \t")));
    at = end + 1;
  }
  words[size_t(vocab.eos())] = kArpaEnd;
  return words;
}

std::string_view next_field(std::string_view& line) {
  const size_t begin = std::min(line.find_first_not_of(" \t\r"), line.size());
  const size_t end = std::min(line.find_first_of(" \t\r", begin), line.size());
  const std::string_view field = line.substr(begin, end - begin);
  line.remove_prefix(end);
  return field;
}

class ArpaReader {
 public:
  ArpaReader(const std::string& path, const Vocab* vocab)
      : path_(path),
        mapping_(Mapping::read(path)),
        text_(reinterpret_cast<const char*>(mapping_.data()), mapping_.bytes()) {
    if (vocab) vocab_ = *vocab;
  }

  ArpaModel read() {
    read_header();
    for (size_t n = 1; n <= counts_.size(); ++n) {
      read_level(n);
      if (n == 1) {
        const int64_t V = vocab_->size();
        std::vector<uint64_t> sizes = counts_;
        sizes[0] = uint64_t(V) + 1;
        file_ = NgramFile::allocate(V, uint32_t(vocab_->eos()), sizes, ~size_t(0), "");
        install_unigrams();
      } else {
        install_level(n);
      }
    }
    if (line_ != "\\end\\") fail("expected \\end\\");
    file_.set_links();
    return {std::move(*vocab_), std::move(file_)};
  }

 private:
  struct Level {
    std::vector<uint32_t> words;  // n per n-gram; <s> is V
    std::vector<double> log10_prob, log10_backoff;
    uint64_t first_line = 0;
  };

  [[noreturn]] void fail(const std::string& what, uint64_t line = 0) const {
    throw Error(ErrorKind::model, fmt::format("{}:{}: {}; write the ARPA file again", path_,
                                              line ? line : line_number_, what));
  }

  bool next_line() {
    if (at_ >= text_.size()) {
      line_ = {};
      return false;
    }
    const size_t end = std::min(text_.find('\n', at_), text_.size());
    line_ = text_.substr(at_, end - at_);
    if (line_.ends_with('\r')) line_.remove_suffix(1);
    at_ = end + 1;
    ++line_number_;
    return true;
  }
  // The next line that is not empty.
  void next_filled_line(const char* expected) {
    do {
      if (!next_line()) fail(fmt::format("the file ends here; expected {}", expected));
    } while (line_.empty());
  }

  void read_header() {
    do {
      if (!next_line()) fail("the file ends here; expected \\data\\");
    } while (line_ != "\\data\\");
    for (next_filled_line("ngram 1=count"); line_.starts_with("ngram ");
         next_filled_line("\\1-grams:")) {
      std::string_view rest = line_.substr(6);
      uint64_t n = 0, count = 0;
      const auto order = std::from_chars(rest.data(), rest.data() + rest.size(), n);
      rest.remove_prefix(size_t(order.ptr - rest.data()));
      rest = rest.substr(std::min(rest.find_first_not_of(" ="), rest.size()));
      const auto amount = std::from_chars(rest.data(), rest.data() + rest.size(), count);
      if (order.ec != std::errc() || amount.ec != std::errc() || n != counts_.size() + 1 ||
          n > kMaxNgramOrder) {
        fail(fmt::format("expected 'ngram {}=count' of an order up to {}, found '{}'",
                         counts_.size() + 1, kMaxNgramOrder, line_));
      }
      // An n-gram takes at least four bytes: no allocation on the word of a damaged header.
      if (count > text_.size() / 4)
        fail(fmt::format("{} n-grams are more than the file holds", count));
      counts_.push_back(count);
    }
    if (counts_.empty()) fail(fmt::format("expected 'ngram 1=count', found '{}'", line_));
  }

  double number(std::string_view field, const char* what) const {
    double value = 0;
    const auto result = std::from_chars(field.data(), field.data() + field.size(), value);
    if (result.ec != std::errc() || result.ptr != field.data() + field.size() ||
        std::isnan(value)) {
      fail(fmt::format("expected a {}, found '{}'", what, field));
    }
    return std::max(value, kLog10Zero);
  }

  uint32_t word_id(std::string_view word, size_t position) const {
    if (word == kArpaStart) {
      if (position > 0) fail("<s> may only begin an n-gram");
      return uint32_t(vocab_->size());
    }
    const auto found = ids_.find(word);
    if (found == ids_.end()) {
      fail(fmt::format("the word '{}' is not among the unigrams", word));
    }
    return found->second;
  }

  void read_level(size_t n) {
    const std::string title = fmt::format("\\{}-grams:", n);
    if (line_ != title) fail(fmt::format("expected {}, found '{}'", title, line_));
    level_ = Level{};
    level_.first_line = line_number_ + 1;
    std::vector<std::string_view> unigrams;
    for (uint64_t i = 0; i < counts_[n - 1]; ++i) {
      if (!next_line() || line_.empty() || line_.front() == '\\') {
        fail(fmt::format("found {} of the {} {}-grams that \\data\\ announces", i, counts_[n - 1],
                         n));
      }
      std::string_view rest = line_;
      const double log10_prob = number(next_field(rest), "log10 probability");
      if (log10_prob > 1e-6) fail("a probability above 1");
      level_.log10_prob.push_back(log10_prob);
      for (size_t j = 0; j < n; ++j) {
        const std::string_view word = next_field(rest);
        if (word.empty()) fail(fmt::format("expected {} words, found {}", n, j));
        if (n == 1) {
          unigrams.push_back(word);
        } else {
          level_.words.push_back(word_id(word, j));
        }
      }
      const std::string_view backoff = next_field(rest);
      level_.log10_backoff.push_back(backoff.empty() ? 0 : number(backoff, "back-off weight"));
      if (std::abs(level_.log10_backoff.back()) >= 1e4) fail("a back-off weight out of range");
      if (const auto extra = next_field(rest); !extra.empty()) {
        fail(fmt::format("'{}' is one column too many", extra));
      }
    }
    next_filled_line(n == counts_.size() ? "\\end\\" : "the next order's n-grams");
    if (line_.front() != '\\') {
      fail(fmt::format("more {}-grams than the {} that \\data\\ announces", n, counts_[n - 1]));
    }
    if (n == 1) name_words(unigrams);
  }

  // Fixes the vocabulary and the ids of the unigrams.
  void name_words(const std::vector<std::string_view>& unigrams) {
    if (vocab_) {
      spellings_ = spellings(*vocab_);
      for (size_t id = 0; id < spellings_.size(); ++id) ids_[spellings_[id]] = uint32_t(id);
    }
    std::unordered_set<std::string_view> seen;
    std::string list;
    for (size_t i = 0; i < unigrams.size(); ++i) {
      const std::string_view word = unigrams[i] == kEos ? kArpaEnd : unigrams[i];
      if (!seen.insert(word).second) {
        fail(fmt::format("'{}' occurs twice", word), level_.first_line + i);
      }
      if (word == kArpaStart) continue;
      if (!vocab_) {
        ids_[unigrams[i]] = ids_[word] = uint32_t(seen.size() - 1 - seen.count(kArpaStart));
        list.append(word == kArpaEnd ? kEos : word).append("\n");
      } else if (!ids_.contains(word)) {
        fail(fmt::format("the word '{}' is not in the vocabulary", word), level_.first_line + i);
      }
    }
    // A list's line numbers are its ids; what it lacks of <eos> and <unk> comes after them.
    if (!vocab_) vocab_ = Vocab::parse(list, Unit::word, path_ + " (unigrams)");
    for (const std::string_view word : unigrams) {
      level_.words.push_back(word == kArpaStart ? uint32_t(vocab_->size()) : ids_.at(word));
    }
  }

  void install_unigrams() {
    const NgramLevel& level = file_.level(1);
    for (uint64_t id = 0; id < level.count; ++id) level.log10_prob(id) = kLog10Zero;
    for (size_t i = 0; i < level_.words.size(); ++i) {
      const uint32_t id = level_.words[i];
      level.log10_prob(id) = level_.log10_prob[i];
      if (level.entries) level.entries[id].log10_backoff = level_.log10_backoff[i];
    }
    above_.resize(level.count);
    std::iota(above_.begin(), above_.end(), 0u);
  }

  void install_level(size_t n) {
    const size_t count = level_.log10_prob.size();
    const auto words_of = [&](uint64_t i) { return level_.words.data() + i * n; };
    const auto compare = [&](const uint32_t* a, const uint32_t* b, size_t length) {
      const auto [x, y] = std::mismatch(a, a + length, b);
      return x == a + length ? 0 : (*x < *y ? -1 : 1);
    };
    std::vector<uint64_t> order(count);
    std::iota(order.begin(), order.end(), uint64_t(0));
    const auto before = [&](uint64_t a, uint64_t b) {
      return compare(words_of(a), words_of(b), n) < 0;
    };
    if (!std::is_sorted(order.begin(), order.end(), before)) {
      std::sort(order.begin(), order.end(), before);
    }

    const NgramLevel &contexts = file_.level(int(n) - 1), &level = file_.level(int(n));
    std::vector<uint32_t> sorted;
    sorted.reserve(count * n);
    uint64_t h = 0;  // contexts before it have all their children
    for (uint64_t at = 0; at < count; ++at) {
      const uint64_t i = order[at];
      const uint32_t* words = words_of(i);
      if (at > 0 && !before(order[at - 1], i)) {
        fail("the same n-gram occurs twice", level_.first_line + std::max(i, order[at - 1]));
      }
      while (h < contexts.count && compare(&above_[h * (n - 1)], words, n - 1) < 0) {
        contexts.entries[++h].first_child = at;
      }
      if (h == contexts.count || compare(&above_[h * (n - 1)], words, n - 1) != 0) {
        fail(fmt::format("its first {} words are not among the {}-grams", n - 1, n - 1),
             level_.first_line + i);
      }
      level.words[at] = words[n - 1];
      level.log10_prob(at) = level_.log10_prob[i];
      if (level.entries) level.entries[at].log10_backoff = level_.log10_backoff[i];
      sorted.insert(sorted.end(), words, words + n);
    }
    while (h < contexts.count) contexts.entries[++h].first_child = count;
    above_ = std::move(sorted);
  }

  const std::string& path_;
  Mapping mapping_;
  std::string_view text_, line_;
  size_t at_ = 0;
  uint64_t line_number_ = 0;
  std::vector<uint64_t> counts_;
  std::optional<Vocab> vocab_;
  std::vector<std::string> spellings_;
  std::unordered_map<std::string_view, uint32_t> ids_;
  NgramFile file_;
  Level level_;
  std::vector<uint32_t> above_;  // the words of the level above, sorted
};

void append_number(std::string& text, double value) {
  char digits[32];
  text.append(digits, std::to_chars(digits, digits + sizeof digits, value).ptr);
}

}  // namespace

ArpaModel read_arpa(const std::string& path, const Vocab* vocab) {
  return ArpaReader(path, vocab).read();
}

bool looks_like_arpa(std::string_view first_bytes) {
  return first_bytes.find("\\data\\") != std::string_view::npos;
}

void write_arpa(const std::string& path, const NgramFile& file, const Vocab& vocab) {
  std::vector<std::string> words = spellings(vocab);
  words.emplace_back(kArpaStart);
  AtomicFile out(path);
  std::string text = "\\data\\\n";
  for (int n = 1; n <= file.order(); ++n) {
    text += fmt::format("ngram {}={}\n", n, file.level(n).count);
  }
  for (int n = 1; n <= file.order(); ++n) {
    text += fmt::format("\n\\{}-grams:\n", n);
    const NgramLevel& level = file.level(n);
    uint64_t path_to[kMaxNgramOrder + 1] = {};  // the entry of each level above the current one
    for (uint64_t i = 0; i < level.count; ++i) {
      path_to[n] = i;
      for (int m = n - 1; m >= 1; --m) {
        while (file.level(m).entries[path_to[m] + 1].first_child <= path_to[m + 1]) ++path_to[m];
      }
      append_number(text, level.log10_prob(i));
      for (int m = 1; m <= n; ++m) {
        text += m == 1 ? '\t' : ' ';
        text += words[m == 1 ? path_to[1] : file.level(m).words[path_to[m]]];
      }
      if (level.entries) {
        text += '\t';
        append_number(text, level.entries[i].log10_backoff);
      }
      text += '\n';
      if (text.size() > (1 << 20)) {
        out.write(text);
        text.clear();
      }
    }
  }
  out.write(text + "\n\\end\\\n");
  out.commit();
}

}  // namespace unroll
