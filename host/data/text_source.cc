// Reading text: gzip, pieces of bounded size, and what is unusual in it.
#include "host/data/text_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "host/data/utf8.h"
#include "kernels/base/error.h"

namespace unroll {

void fail_reading(const std::string& path, const std::string& flag, int code) {
  throw Error(ErrorKind::usage, fmt::format("cannot read '{}' (from {}): {}; check the path", path,
                                            flag, std::strerror(code)));
}

unsigned check_readable(const std::string& path, const std::string& flag) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) fail_reading(path, flag, errno);
  if (S_ISDIR(info.st_mode)) fail_reading(path, flag, EISDIR);
  if (access(path.c_str(), R_OK) != 0) fail_reading(path, flag, errno);
  return info.st_mode;
}

namespace {

constexpr size_t kPiece = size_t{1} << 20;

size_t cut_after_blank(std::string_view text) {
  for (size_t n = text.size(); n > 0; --n) {
    const char c = text[n - 1];
    if (c == ' ' || (c >= '\t' && c <= '\r') || c == '\0') return n;
  }
  return 0;
}

}  // namespace

struct TextSource::File {
  gzFile gz = nullptr;
  ~File() {
    if (gz != nullptr) gzclose(gz);
  }
};

TextSource::TextSource(std::vector<std::string> paths, std::string flag)
    : paths_(std::move(paths)), flag_(std::move(flag)), buffer_(2 * kPiece) {
  if (paths_.empty()) throw Error(ErrorKind::usage, flag_ + " names no file");
  for (const std::string& path : paths_) {
    if (path != "-") check_readable(path, flag_);
  }
  open(0);
}

TextSource::~TextSource() = default;

void TextSource::open(size_t index) {
  index_ = index;
  const std::string& path = paths_[index];
  const int fd = path == "-" ? dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_reading(path, flag_, errno);
  file_ = std::make_unique<File>();
  file_->gz = gzdopen(fd, "rb");
  if (file_->gz == nullptr) {
    close(fd);
    fail_reading(path, flag_, ENOMEM);
  }
  gzbuffer(file_->gz, 1 << 18);
  begin_ = end_ = 0;
  offset_ = line_in_file_ = 0;
  at_end_of_file_ = false;
  line_ended_ = true;
  fill();
  if (std::string_view(buffer_.data(), end_).starts_with("\xef\xbb\xbf")) {
    ++notes_.byte_order_marks;
    begin_ = offset_ = 3;
  }
}

// Reads more of the file behind the unread bytes; the buffer grows only where these fill it.
void TextSource::fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
  const size_t room = std::min(buffer_.size() - end_, 4 * kPiece);
  errno = 0;
  const int got = gzread(file_->gz, buffer_.data() + end_, static_cast<unsigned>(room));
  int code = Z_OK;
  const char* reason = gzerror(file_->gz, &code);
  if (got < 0 || (code != Z_OK && code != Z_STREAM_END)) {
    throw Error(
        ErrorKind::data,
        fmt::format("reading '{}' (from {}) failed after {} bytes of text: {}; if it is a gzip "
                    "file, test it with gzip -t",
                    paths_[index_], flag_, offset_ + end_,
                    code == Z_ERRNO ? std::strerror(errno) : reason));
  }
  end_ += static_cast<size_t>(got);
  notes_.bytes += static_cast<uint64_t>(got);
  if (static_cast<size_t>(got) < room) at_end_of_file_ = true;
}

bool TextSource::next(std::string_view& piece) {
  size_t searched = 0;
  while (true) {
    const std::string_view unread(buffer_.data() + begin_, end_ - begin_);
    const size_t newline = unread.find('\n', searched);
    size_t taken = 0;
    bool ended = true;
    if (newline != std::string_view::npos) {
      taken = newline + 1;
    } else if (at_end_of_file_) {
      if (unread.empty() && line_ended_) {
        if (index_ + 1 == paths_.size()) return false;
        open(index_ + 1);
        searched = 0;
        continue;
      }
      ++notes_.missing_final_newlines;
      taken = unread.size();
    } else if (unread.size() >= kPiece && cut_after_blank(unread) > 0) {
      taken = cut_after_blank(unread);
      ended = false;
    } else {
      searched = unread.size();
      fill();
      continue;
    }
    if (line_ended_) ++line_in_file_;
    if (ended) ++notes_.lines;
    line_ended_ = ended;
    piece = clean(unread.substr(0, newline == std::string_view::npos ? taken : newline), ended);
    begin_ += taken;
    offset_ += taken;
    return true;
  }
}

bool TextSource::next_line(std::string& line) {
  line.clear();
  std::string_view piece;
  while (next(piece)) {
    line.append(piece);
    if (line_ended_) return true;
  }
  return false;
}

// Counts what is unusual in a piece; a copy is made only where bytes must change.
std::string_view TextSource::clean(std::string_view raw, bool ends_line) {
  if (ends_line && raw.ends_with('\r')) {
    ++notes_.carriage_returns;
    raw.remove_suffix(1);
  }
  bool change = false;
  for (size_t i = 0; i < raw.size();) {
    const auto byte = static_cast<unsigned char>(raw[i]);
    if (byte >= ' ' && byte < 0x80) {
      ++i;
      continue;
    }
    const size_t n = utf8_length(raw.substr(i));
    if (n == 0 && notes_.invalid_utf8++ == 0) {
      notes_.first_invalid_file = paths_[index_];
      notes_.first_invalid_offset = offset_ + i;
    }
    notes_.tabs += byte == '\t';
    notes_.nul_bytes += byte == '\0';
    notes_.carriage_returns += byte == '\r';
    change = change || byte == '\0' || byte == '\r';
    i += std::max<size_t>(n, 1);
  }
  if (!change) return raw;
  cleaned_.assign(raw);
  std::replace(cleaned_.begin(), cleaned_.end(), '\0', ' ');
  std::replace(cleaned_.begin(), cleaned_.end(), '\r', ' ');
  return cleaned_;
}

std::string TextSource::place() const {
  return fmt::format("{}:{}", paths_[index_] == "-" ? "standard input" : paths_[index_],
                     line_in_file_);
}

std::vector<std::string> describe_notes(const TextNotes& notes, const std::string& name) {
  std::vector<std::string> lines;
  const auto say = [&](uint64_t count, const char* one, const char* many, const std::string& how) {
    if (count == 0) return;
    lines.push_back(fmt::format("{}: {} {}; {}", name, count, count == 1 ? one : many, how));
  };
  say(notes.carriage_returns, "carriage return", "carriage returns",
      "removed at line ends (Windows line ends), read as blanks elsewhere");
  say(notes.nul_bytes, "NUL byte", "NUL bytes",
      "read as blanks; if the text is UTF-16, convert it to UTF-8");
  say(notes.byte_order_marks, "byte order mark", "byte order marks",
      "removed from the start of the file");
  say(notes.tabs, "tab", "tabs",
      "white space like blanks between words, a character of its own otherwise");
  say(notes.invalid_utf8, "byte that is not valid UTF-8", "bytes that are not valid UTF-8",
      fmt::format("kept as they are; the first is at byte {} of '{}'", notes.first_invalid_offset,
                  notes.first_invalid_file));
  say(notes.missing_final_newlines, "file without a line end after its last line",
      "files without a line end after their last line", "the end of the file counts as one");
  say(notes.long_words, "word longer than 1024 bytes", "words longer than 1024 bytes",
      "kept whole; is the text split into words?");
  say(notes.sentence_marks, "literal <s>, </s> or <eos>", "literal <s>, </s> or <eos> marks",
      fmt::format("kept as words, the first in line {}; every line already ends with <eos>, so "
                  "remove them if they mark sentences",
                  notes.first_mark_line));
  return lines;
}

}  // namespace unroll
