// Writing token files.
#include "host/data/token_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "host/io/atomic_file.h"
#include "kernels/base/error.h"

namespace unroll {

void TokenFile::fail(const char* what) const {
  throw Error(
      ErrorKind::disk,
      fmt::format("cannot {} the token file '{}': {}; free space there or choose another folder",
                  what, name_, std::strerror(errno)));
}

TokenFile::TokenFile(const std::string& path, bool named) : path_(path) {
  name_ = path.empty() ? temporary_folder() + "/unroll" : path;
  name_ += ".XXXXXX";
  fd_ = mkostemp(name_.data(), O_CLOEXEC);
  if (fd_ < 0) fail("create");
  linked_ = named;
  if (!named) unlink(name_.c_str());
}

TokenFile::~TokenFile() {
  if (linked_) unlink(name_.c_str());
  close(fd_);
}

void TokenFile::pad() {
  const char zeros[8] = {};
  write(zeros, (8 - written_ % 8) % 8);
}

void TokenFile::flush() {
  for (size_t done = 0; done < buffer_.size();) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n < 0 && errno != EINTR) fail("write");
    if (n > 0) done += static_cast<size_t>(n);
  }
  buffer_.clear();
}

void TokenFile::append(TokenFile& other) {
  other.flush();
  std::vector<char> block(kBuffer);
  for (uint64_t at = 0; at < other.written_;) {
    const ssize_t n = pread(other.fd_, block.data(), block.size(), static_cast<off_t>(at));
    if (n == 0) errno = EIO;
    if (n == 0 || (n < 0 && errno != EINTR)) other.fail("read back");
    if (n < 0) continue;
    write(block.data(), static_cast<size_t>(n));
    at += static_cast<uint64_t>(n);
  }
}

void TokenFile::publish(const TokenFileHeader& header) {
  flush();
  if (pwrite(fd_, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) fail("write");
  if (!linked_) return;
  if (fdatasync(fd_) != 0 || fchmod(fd_, 0644) != 0 ||
      std::rename(name_.c_str(), path_.c_str()) != 0) {
    fail("finish");
  }
  linked_ = false;
}

namespace {

// Every counter of TextNotes by name, for writing and reading them alike.
template <class F>
void for_each_count(TextNotes& n, F&& f) {
  f("bytes", n.bytes), f("lines", n.lines), f("carriage_returns", n.carriage_returns);
  f("nul_bytes", n.nul_bytes), f("byte_order_marks", n.byte_order_marks), f("tabs", n.tabs);
  f("invalid_utf8", n.invalid_utf8), f("first_invalid_offset", n.first_invalid_offset);
  f("missing_final_newlines", n.missing_final_newlines), f("long_words", n.long_words);
  f("sentence_marks", n.sentence_marks), f("first_mark_line", n.first_mark_line);
}

}  // namespace

std::string notes_to_json(TextNotes notes, const OovList& top) {
  nlohmann::json json = {{"first_invalid_file", notes.first_invalid_file}, {"top_oov", top}};
  for_each_count(notes, [&](const char* name, uint64_t& count) { json[name] = count; });
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void notes_from_json(std::string_view text, TextNotes& notes, OovList& top) {
  const auto json = nlohmann::json::parse(text);
  notes.first_invalid_file = json.at("first_invalid_file");
  top = json.at("top_oov").get<OovList>();
  for_each_count(notes, [&](const char* name, uint64_t& count) { count = json.at(name); });
}

}  // namespace unroll
