// Text from files, gzip files or standard input, line by line, in bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace unroll {

// What was found in a text besides words. Counts are over all files of one source; an offset counts
// bytes of the (unpacked) text of `first_invalid_file`, from 0.
struct TextNotes {
  uint64_t bytes = 0;
  uint64_t lines = 0;
  uint64_t carriage_returns = 0;  // removed at a line end, read as a blank elsewhere
  uint64_t nul_bytes = 0;         // read as blanks
  uint64_t byte_order_marks = 0;  // removed at the start of a file
  uint64_t tabs = 0;
  uint64_t invalid_utf8 = 0;  // bytes that belong to no code point; kept
  std::string first_invalid_file;
  uint64_t first_invalid_offset = 0;
  uint64_t missing_final_newlines = 0;  // the end of the file counts as the end of the line
  uint64_t long_words = 0;       // above 1024 bytes; kept whole (word unit, filled by Corpus)
  uint64_t sentence_marks = 0;   // literal <s>, </s> or <eos>; kept (word unit, filled by Corpus)
  uint64_t first_mark_line = 0;  // line of the first, from 1 over all files
};

// One line of English per kind of note that is worth a warning, each beginning with `name`.
std::vector<std::string> describe_notes(const TextNotes& notes, const std::string& name);

// Reads files one after another. `paths` may hold plain files, gzip files (known by their content,
// not their name) and "-" for standard input. `flag` is the option the paths came from, for
// messages.
class TextSource {
 public:
  // Throws a usage Error naming path, reason and flag where any of the files cannot be opened.
  TextSource(std::vector<std::string> paths, std::string flag);
  ~TextSource();
  TextSource(const TextSource&) = delete;
  TextSource& operator=(const TextSource&) = delete;

  // The next piece of text, valid until the next call; false at the end. A piece is a line without
  // its end mark, or, where a line is longer than 1 MiB, part of one, cut after white space. Throws
  // a data Error where a gzip file is damaged or reading fails.
  bool next(std::string_view& piece);
  // Whether the piece given last ends its line.
  bool line_ended() const { return line_ended_; }
  // The next whole line, however long; false at the end.
  bool next_line(std::string& line);

  const TextNotes& notes() const { return notes_; }
  // The file being read and the line in it given last, from 1: "corpus.txt:17".
  std::string place() const;

 private:
  struct File;
  void open(size_t index);
  void fill();
  std::string_view clean(std::string_view raw, bool ends_line);

  std::vector<std::string> paths_;
  std::string flag_;
  size_t index_ = 0;  // file being read
  std::unique_ptr<File> file_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // unread bytes of the buffer
  uint64_t offset_ = 0;         // of buffer_[begin_] in the file
  uint64_t line_in_file_ = 0;
  bool at_end_of_file_ = false;
  bool line_ended_ = true;
  std::string cleaned_;
  TextNotes notes_;
};

// Throws the usage Error "cannot read 'path' (from flag): reason".
[[noreturn]] void fail_reading(const std::string& path, const std::string& flag, int error_number);
// The file's st_mode; throws as above where it cannot be read. Opens nothing, so that a pipe keeps
// its writer.
unsigned check_readable(const std::string& path, const std::string& flag);

}  // namespace unroll
