// The format of a token file, and writing one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "host/data/text_source.h"

namespace unroll {

// First bytes of a token file; ids, line starts (u64, one more than lines) and notes (JSON) follow,
// each at a multiple of 8 bytes.
struct TokenFileHeader {
  static constexpr uint32_t kVersion = 1;

  char magic[8] = {'u', 'n', 'r', 'o', 'l', 'l', 't', 'k'};
  uint32_t version = kVersion;
  uint32_t id_bytes = 0;  // 2 or 4
  uint64_t key = 0;       // of text, vocabulary and format; 0: never reused
  uint64_t tokens = 0, lines = 0, oov_tokens = 0;
  uint64_t starts_at = 0, notes_at = 0, notes_bytes = 0;

  bool valid() const { return std::string_view(magic, 8) == "unrolltk" && version == kVersion; }
};

// A file written through a buffer. Every function throws a disk Error where the system does not
// obey.
class TokenFile {
 public:
  // Created beside `path` (in the folder for temporary files where that is empty); gets this name
  // when it is published if `named`, else it has no name and is gone when closed.
  TokenFile(const std::string& path, bool named);
  ~TokenFile();
  TokenFile(const TokenFile&) = delete;
  TokenFile& operator=(const TokenFile&) = delete;

  void write(const void* data, size_t bytes) {
    buffer_.append(static_cast<const char*>(data), bytes);
    written_ += bytes;
    if (buffer_.size() >= kBuffer) flush();
  }
  void pad();                                   // to a multiple of 8 bytes
  void append(TokenFile& other);                // the whole of another file
  void publish(const TokenFileHeader& header);  // header into place, flush, rename
  uint64_t written() const { return written_; }
  int fd() const { return fd_; }

 private:
  static constexpr size_t kBuffer = size_t{1} << 20;
  [[noreturn]] void fail(const char* what) const;
  void flush();

  std::string path_, name_, buffer_;
  int fd_ = -1;
  bool linked_ = false;  // the temporary name exists
  uint64_t written_ = 0;
};

using OovList = std::vector<std::pair<std::string, uint64_t>>;
std::string notes_to_json(TextNotes notes, const OovList& top_oov);
void notes_from_json(std::string_view text, TextNotes& notes, OovList& top_oov);

}  // namespace unroll
