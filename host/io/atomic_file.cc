// Temporary file, fsync, rename, fsync of the folder.
#include "host/io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "kernels/base/error.h"

namespace unroll {
namespace {

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string fix_for(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some space or choose a folder on another disk";
    case EFBIG:
      return "raise the file size limit (ulimit -f)";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a folder that you may write to";
    case ENOENT:
    case ENOTDIR:
      return "create the folder first";
    default:
      return "check the disk";
  }
}

}  // namespace

// The temporary's name is fixed, so that what a kill leaves behind is overwritten by the next save.
AtomicFile::AtomicFile(std::string path) : path_(std::move(path)), temporary_(path_ + ".tmp") {
  fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) fail("create");
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
  fd_ = -1;
}

void AtomicFile::fail(const char* what) {
  const int error = errno;
  discard();
  const bool had_old = ::access(path_.c_str(), F_OK) == 0;
  throw Error(ErrorKind::disk,
              path_ + ": cannot " + what + " the new file: " + std::strerror(error) +
                  (had_old ? "; the old one is kept" : "") + "; " + fix_for(error));
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    // Linux writes at most 2 GiB - 4 KiB at a time.
    const ssize_t n = ::write(fd_, from, std::min(bytes, size_t(1) << 30));
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("write");
    }
    from += n;
    bytes -= size_t(n);
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) fail("flush");
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail("put in place");
  ::close(fd_);
  fd_ = -1;
  // The rename itself must reach the disk, or a power cut could bring back the old file after a
  // later file that belongs to the new one.
  const int folder = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool flushed = folder >= 0 && (::fsync(folder) == 0 || errno == EINVAL);
  const int error = errno;
  if (folder >= 0) ::close(folder);
  if (!flushed)
    throw Error(ErrorKind::disk, path_ + ": cannot flush its folder: " + std::strerror(error) +
                                     "; " + fix_for(error));
}

void write_file(const std::string& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  char buffer[1 << 16];
  ssize_t n = fd < 0 ? -1 : 0;
  if (fd >= 0)
    while ((n = ::read(fd, buffer, sizeof buffer)) > 0 || (n < 0 && errno == EINTR))
      if (n > 0) text.append(buffer, size_t(n));
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (n < 0) throw Error(ErrorKind::usage, path + ": cannot be read: " + std::strerror(error));
  return text;
}

std::string temporary_folder() {
  std::error_code error;
  const std::string folder = std::filesystem::temp_directory_path(error).string();
  if (error)
    throw Error(ErrorKind::disk, "the folder for temporary files: " + error.message() +
                                     "; set TMPDIR to a folder that exists");
  return folder;
}

}  // namespace unroll
