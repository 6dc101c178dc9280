// A file that appears whole or not at all: written under a temporary name in the same folder,
// flushed to the disk, renamed over the old one, and the folder flushed.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace unroll {

class AtomicFile {
 public:
  // Creates the temporary file beside `path`. Throws Error(disk) with path, errno text and fix.
  explicit AtomicFile(std::string path);
  // Without commit() the temporary is removed and a file already at `path` stays as it was.
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  // Appends `bytes` bytes. Throws Error(disk): disk full, quota, file size limit.
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }

  // Flushes and puts the file in place. Throws Error(disk); then the old file is still there.
  void commit();

 private:
  [[noreturn]] void fail(const char* what);
  void discard() noexcept;

  std::string path_, temporary_;
  int fd_ = -1;
};

// Writes `text` as the whole content of `path`, whole or not at all. Throws Error(disk).
void write_file(const std::string& path, std::string_view text);

// The whole content of a file. Throws Error(usage) with path and errno text.
std::string read_file(const std::string& path);

// The folder for temporary files: $TMPDIR, or /tmp. Throws Error(disk) where it is none.
std::string temporary_folder();

}  // namespace unroll
