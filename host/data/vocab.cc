// Building, reading and writing vocabularies.
#include "host/data/vocab.h"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include "host/data/text_source.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

bool is_hex_escape(std::string_view text) {
  return text.size() >= 4 && text[0] == '\\' && text[1] == 'x' &&
         std::isxdigit(static_cast<unsigned char>(text[2])) &&
         std::isxdigit(static_cast<unsigned char>(text[3]));
}

std::string unescape_token(std::string_view text) {
  std::string token;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_hex_escape(text.substr(i))) {
      unsigned byte = 0;
      std::from_chars(text.data() + i + 2, text.data() + i + 4, byte, 16);
      token += static_cast<char>(byte);
      i += 3;
    } else {
      token += text[i];
    }
  }
  return token;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

Unit parse_unit(const std::string& name) {
  if (name == "word") return Unit::word;
  if (name == "char") return Unit::character;
  throw Error(ErrorKind::usage, fmt::format("unit is '{}', expected word or char", name));
}

const char* name_of(Unit unit) { return unit == Unit::word ? "word" : "char"; }

std::vector<std::string_view> split_tokens(Unit unit, std::string_view text) {
  std::vector<std::string_view> tokens;
  for_each_token(unit, text, [&](std::string_view token) { tokens.push_back(token); });
  return tokens;
}

std::string escape_token(std::string_view token) {
  std::string text;
  for (size_t i = 0; i < token.size();) {
    const auto byte = static_cast<unsigned char>(token[i]);
    const size_t n = utf8_length(token.substr(i));
    if (n == 0 || byte < 0x21 || byte == 0x7f || is_hex_escape(token.substr(i))) {
      text += fmt::format("\\x{:02x}", byte);
      ++i;
    } else {
      text.append(token.substr(i, n));
      i += n;
    }
  }
  return text;
}

void TypeCounts::add(std::string_view token, uint64_t times) {
  const uint32_t i = table_.insert(token);
  if (i == counts_.size()) counts_.push_back(0);
  counts_[i] += times;
}

TypeCounts count_types(const std::vector<std::string>& paths, const std::string& flag, Unit unit) {
  TextSource source(paths, flag);
  TypeCounts counts(unit);
  std::string_view piece;
  while (source.next(piece)) {
    for_each_token(unit, piece, [&](std::string_view token) { counts.add(token); });
    if (source.line_ended()) counts.add(kEos);
  }
  return counts;
}

Vocab::Vocab(const TypeCounts& counts, const VocabLimits& limits) : unit_(counts.unit()) {
  if (limits.size == 1 || limits.size == 2) {
    throw Error(ErrorKind::usage,
                fmt::format("vocab_size {} leaves no room beside <eos> and <unk>; "
                            "expected at least 3, or 0 for all types",
                            limits.size));
  }
  struct Type {
    std::string_view token;
    uint64_t count;
    uint32_t first;  // rank of first appearance
  };
  Type eos{kEos, 0, counts.types()}, unk{kUnk, 0, counts.types() + 1};
  bool needs_unk = unit_ == Unit::word || limits.min_count > 1;
  std::vector<Type> kept;
  for (uint32_t i = 0; i < counts.types(); ++i) {
    const Type type{counts.token(i), counts.count(i), i};
    if (type.token == kEos) {
      eos = type;
    } else if (type.token == kUnk) {
      unk = {kUnk, unk.count + type.count, i};
      needs_unk = true;
    } else if (type.count < limits.min_count) {
      unk.count += type.count;
      needs_unk = true;
    } else {
      kept.push_back(type);
    }
  }
  if (kept.empty() && counts.types() > 0 && limits.min_count > 1) {
    throw Error(ErrorKind::usage,
                fmt::format("min_count {} leaves no token of this text; choose a smaller one",
                            limits.min_count));
  }
  const auto by_count = [](const Type& a, const Type& b) {
    return a.count != b.count ? a.count > b.count : a.first < b.first;
  };
  std::sort(kept.begin(), kept.end(), by_count);
  if (limits.size > 0 && kept.size() + 1 + needs_unk > limits.size) {
    for (size_t i = limits.size - 2; i < kept.size(); ++i) unk.count += kept[i].count;
    kept.resize(limits.size - 2);
    needs_unk = true;
  }
  kept.push_back(eos);
  if (needs_unk) kept.push_back(unk);
  std::sort(kept.begin(), kept.end(), by_count);
  for (const Type& type : kept) add(type.token, type.count);
  finish();
}

Vocab Vocab::read_file(const std::string& path, Unit unit, const std::string& flag) {
  TextSource source({path}, flag);
  std::string text, line;
  while (source.next_line(line)) text += line + '\n';
  return parse(text, unit, path);
}

Vocab Vocab::parse(std::string_view text, Unit unit, const std::string& name) {
  Vocab vocab = parse_list(text, unit, name);
  for (const std::string_view mark : {kEos, kUnk}) {
    if (!vocab.table_.find(mark)) vocab.add(mark, 0);
  }
  vocab.finish();
  return vocab;
}

Vocab Vocab::parse_list(std::string_view text, Unit unit, const std::string& name) {
  Vocab vocab;
  vocab.unit_ = unit;
  size_t columns = 0;
  bool has_ids = false;
  uint64_t number = 0;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++number;
    const auto fail = [&](const std::string& what) {
      throw Error(ErrorKind::data, fmt::format("{}:{}: '{}': {}", name, number, line, what));
    };
    const std::vector<std::string_view> fields = split_tokens(Unit::word, line);
    if (fields.empty()) fail("no token; expected one per line (a blank is written \\x20)");
    if (fields.size() > 2) {
      fail(fmt::format("{} columns; expected a token and at most its id or count", fields.size()));
    }
    const uint64_t id = number - 1;
    const std::optional<uint64_t> value =
        fields.size() == 2 ? parse_number(fields[1]) : std::optional<uint64_t>(0);
    if (!value) fail("the second column is not a number; expected an id or a count");
    if (columns == 0) {
      columns = fields.size();
      has_ids = columns == 2 && *value == 0;
    }
    if (fields.size() != columns) {
      fail(fmt::format("{} column{}, but line 1 has {}", fields.size(),
                       fields.size() == 1 ? "" : "s", columns));
    }
    if (has_ids && *value != id) {
      fail(fmt::format("id {}, expected {}: ids count up from 0 line by line", *value, id));
    }
    const std::string token = unescape_token(fields[0]);
    if (const auto other = vocab.table_.find(token)) {
      fail(fmt::format("the token is already in line {}; every token must occur once", *other + 1));
    }
    if (unit == Unit::character && token != kEos && token != kUnk && token.size() != 1 &&
        utf8_length(token) != token.size()) {
      fail("more than one character; expected one per line in a character vocabulary");
    }
    vocab.add(token, has_ids ? 0 : *value);
  }
  return vocab;
}

void Vocab::add(std::string_view token, uint64_t count) {
  table_.insert(token);
  counts_.push_back(count);
}

void Vocab::finish() {
  eos_ = *id(kEos);
  unk_ = id(kUnk);
}

std::string Vocab::to_text() const {
  const bool write_counts = !counts_.empty() && counts_.front() > 0;
  std::string text;
  for (uint32_t i = 0; i < table_.size(); ++i) {
    text += escape_token(table_[i]);
    if (write_counts) text += fmt::format(" {}", counts_[i]);
    text += '\n';
  }
  return text;
}

std::string Vocab::serialize() const { return fmt::format("{}\n{}", name_of(unit_), to_text()); }

Vocab Vocab::deserialize(std::string_view text, const std::string& name) {
  const std::string_view unit = text.substr(0, text.find('\n'));
  if (unit != "word" && unit != "char") {
    throw Error(
        ErrorKind::model,
        fmt::format("{}: the vocabulary begins with '{}', expected word or char; was the file "
                    "written by unroll?",
                    name, escape_token(unit.substr(0, 40))));
  }
  text.remove_prefix(std::min(text.size(), unit.size() + 1));
  Vocab vocab = parse_list(text, parse_unit(std::string(unit)), name);
  if (!vocab.table_.find(kEos)) {
    throw Error(ErrorKind::model, fmt::format("{}: the vocabulary has no <eos>", name));
  }
  vocab.finish();
  return vocab;
}

void Vocab::save(const std::string& path) const {
  const std::string text = to_text();
  std::FILE* file = std::fopen(path.c_str(), "wb");
  const bool written = file && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (!file || std::fclose(file) != 0 || !written) {
    throw Error(ErrorKind::disk,
                fmt::format("cannot write the vocabulary '{}': {}", path, std::strerror(errno)));
  }
}

std::optional<int32_t> Vocab::id(std::string_view token) const {
  const std::optional<uint32_t> found = table_.find(token);
  return found ? std::optional<int32_t>(static_cast<int32_t>(*found)) : std::nullopt;
}

std::string_view Vocab::token(int32_t id) const {
  UNROLL_CHECK(id >= 0 && id < size(),
               fmt::format("token id {} of a vocabulary of {}", id, size()));
  return table_[static_cast<uint32_t>(id)];
}

std::string Vocab::hash() const {
  uint64_t hash = fnv1a(name_of(unit_));
  for (uint32_t i = 0; i < table_.size(); ++i) {
    hash = fnv1a(table_[i], fnv1a(fmt::format("\n{}:", table_[i].size()), hash));
  }
  return fmt::format("{:016x}", hash);
}

int32_t Vocab::id_or_unk(std::string_view token, const std::string& place) const {
  if (const auto found = id(token)) return *found;
  if (unk_) return *unk_;
  throw Error(
      ErrorKind::data,
      fmt::format("{}{}'{}' is not in the vocabulary of {} {}s, which has no <unk> to stand for "
                  "it; train with min_count = 2, or remove it from the text",
                  place, place.empty() ? "" : ": ", escape_token(token), size(),
                  unit_ == Unit::word ? "word" : "character"));
}

void Vocab::encode(std::string_view line, std::vector<int32_t>& ids, std::vector<uint32_t>* oov,
                   const std::string& place) const {
  for_each_token(unit_, line, [&](std::string_view token) {
    const int32_t found = id_or_unk(token, place);
    if (oov != nullptr && found == unk_ && token != kUnk) {
      oov->push_back(static_cast<uint32_t>(ids.size()));
    }
    ids.push_back(found);
  });
}

std::string Vocab::decode(const std::vector<int32_t>& ids) const {
  std::string text;
  for (const int32_t i : ids) {
    if (i == eos_) {
      text += '\n';
      continue;
    }
    if (unit_ == Unit::word && !text.empty() && text.back() != '\n') text += ' ';
    text += token(i);
  }
  return text;
}

}  // namespace unroll
