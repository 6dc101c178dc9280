// The vocabulary: which tokens exist, their ids, and how text becomes ids and back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/data/token_table.h"
#include "host/data/utf8.h"

namespace unroll {

// What a token is: a word between white space, or a UTF-8 code point (a byte that is no part of a
// valid code point is a token by itself).
enum class Unit { word, character };

Unit parse_unit(const std::string& name);  // "word" or "char"; throws a usage Error otherwise
const char* name_of(Unit unit);            // "word", "char"

inline constexpr std::string_view kEos = "<eos>";  // one at the end of every line
inline constexpr std::string_view kUnk = "<unk>";

// Calls f(token) for each token of a line or piece of a line, without <eos>. White space is
// ASCII's.
template <class F>
void for_each_token(Unit unit, std::string_view text, F&& f) {
  const auto blank = [](char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  size_t i = 0;
  while (i < text.size()) {
    size_t n = 1;
    if (unit == Unit::character) {
      n = std::max<size_t>(1, utf8_length(text.substr(i)));
    } else if (blank(text[i])) {
      ++i;
      continue;
    } else {
      while (i + n < text.size() && !blank(text[i + n])) ++n;
    }
    f(text.substr(i, n));
    i += n;
  }
}
// The same as a list, whose entries point into `text`.
std::vector<std::string_view> split_tokens(Unit unit, std::string_view text);

// How often each type occurs, in order of first appearance. About 30 bytes and its spelling per
// type.
class TypeCounts {
 public:
  explicit TypeCounts(Unit unit) : unit_(unit) {}
  void add(std::string_view token, uint64_t times = 1);
  Unit unit() const { return unit_; }
  uint32_t types() const { return table_.size(); }
  std::string_view token(uint32_t i) const { return table_[i]; }
  uint64_t count(uint32_t i) const { return counts_[i]; }

 private:
  Unit unit_;
  TokenTable table_;
  std::vector<uint64_t> counts_;
};

// Counts the tokens of a text, one <eos> per line included, in one pass; memory grows with the
// types, not with the text. Throws what TextSource throws.
TypeCounts count_types(const std::vector<std::string>& paths, const std::string& flag, Unit unit);

struct VocabLimits {
  uint64_t size = 0;       // at most this many types, <eos> and <unk> included; 0: all
  uint64_t min_count = 0;  // types seen less often are cut
};

class Vocab {
 public:
  Vocab() = default;

  // Ids by descending count, ties by first appearance; <eos> is counted like a word, and what is
  // cut counts as <unk>. <unk> exists in a word vocabulary always, in a character vocabulary when
  // min_count is above 1, something is cut or the text has it. Throws a usage Error where the
  // limits leave no room for a token.
  Vocab(const TypeCounts& counts, const VocabLimits& limits);

  // A list with one token per line, id = line number from 0; a second column may hold the id or a
  // count. \xHH stands for a byte, as to_text() writes it. <eos> and <unk> are appended where
  // missing. Throws a data Error "file:line: ..." that shows the line; a usage Error where it
  // cannot be opened.
  static Vocab read_file(const std::string& path, Unit unit, const std::string& flag);
  // The same from text in memory; `name` stands for the file in messages.
  static Vocab parse(std::string_view text, Unit unit, const std::string& name);

  // "token count" per line in id order (no counts where none are known). Bytes below 0x21, 0x7f,
  // invalid UTF-8, and a backslash before x, are written \xHH: the text is valid UTF-8 and reads
  // back the same.
  std::string to_text() const;
  // to_text() behind a line with the unit: everything, in one string for a model file's metadata.
  std::string serialize() const;
  // Throws a model Error where the string has no unit or no <eos>, a data Error as parse() does.
  static Vocab deserialize(std::string_view text, const std::string& name);
  void save(const std::string& path) const;  // to_text(); throws a disk Error

  Unit unit() const { return unit_; }
  int32_t size() const { return static_cast<int32_t>(table_.size()); }  // V
  int32_t eos() const { return eos_; }
  std::optional<int32_t> unk() const { return unk_; }
  std::optional<int32_t> id(std::string_view token) const;
  std::string_view token(int32_t id) const;  // valid as long as the vocabulary
  // Occurrences in the training text by id, all 0 where unknown.
  const std::vector<uint64_t>& counts() const { return counts_; }
  // 16 hex digits of a 64-bit FNV-1a hash over the unit and the tokens in order.
  std::string hash() const;

  // Appends the ids of a line's tokens, without <eos>, and the positions within `ids` of those
  // mapped to <unk> (a literal <unk> is not one). Throws a data Error that names the token where it
  // is not in a vocabulary without <unk>; `place` ("file:line") begins that message.
  void encode(std::string_view line, std::vector<int32_t>& ids,
              std::vector<uint32_t>* oov = nullptr, const std::string& place = "") const;
  // Id of a token as encode() gives it: its own, or <unk>'s, or a data Error.
  int32_t id_or_unk(std::string_view token, const std::string& place = "") const;
  // Words with blanks between, characters side by side; <eos> is a line end.
  std::string decode(const std::vector<int32_t>& ids) const;

 private:
  static Vocab parse_list(std::string_view text, Unit unit, const std::string& name);
  void add(std::string_view token, uint64_t count);
  void finish();  // finds <eos> and <unk>

  Unit unit_ = Unit::word;
  TokenTable table_;
  std::vector<uint64_t> counts_;
  int32_t eos_ = 0;
  std::optional<int32_t> unk_;
};

// Printable form of a token for messages: \xHH for bytes that are not printable UTF-8 text.
std::string escape_token(std::string_view token);

}  // namespace unroll
