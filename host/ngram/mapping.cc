// Blocks of memory by mmap.
#include "host/ngram/mapping.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "kernels/base/error.h"

namespace unroll {
namespace {

// Closes a descriptor at the end of its scope; a mapping outlives its descriptor.
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::byte* map(size_t bytes, int protection, int flags, int fd) {
  void* data = ::mmap(nullptr, bytes, protection, flags, fd, 0);
  return data == MAP_FAILED ? nullptr : static_cast<std::byte*>(data);
}

}  // namespace

Mapping Mapping::anonymous(size_t bytes) {
  Mapping mapping;
  if (bytes == 0) return mapping;
  mapping.data_ = map(bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  if (!mapping.data_) {
    throw Error(
        ErrorKind::resource,
        fmt::format("cannot reserve {:.1f} MiB: {}; lower --memory, the order, or raise the "
                    "cut-offs",
                    double(bytes) / (1 << 20), std::strerror(errno)));
  }
  mapping.bytes_ = bytes;
  return mapping;
}

Mapping Mapping::temporary_file(size_t bytes, const std::string& folder) {
  Mapping mapping;
  if (bytes == 0) return mapping;
  std::string name = folder + "/unroll-ngram-XXXXXX";
  const Descriptor file{::mkstemp(name.data())};
  if (file.fd >= 0) ::unlink(name.c_str());
  // posix_fallocate finds a full disk now; a page fault on a sparse file would be a SIGBUS later.
  const int error = file.fd < 0 ? errno : ::posix_fallocate(file.fd, 0, static_cast<off_t>(bytes));
  if (error == 0) {
    mapping.data_ = map(bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd);
  }
  if (!mapping.data_) {
    throw Error(
        ErrorKind::disk,
        fmt::format("cannot make a temporary file of {:.1f} MiB in {}: {}; choose a folder "
                    "with room by setting TMPDIR, or raise --memory",
                    double(bytes) / (1 << 20), folder, std::strerror(error ? error : errno)));
  }
  mapping.bytes_ = bytes;
  return mapping;
}

Mapping Mapping::read(const std::string& path) {
  Mapping mapping;
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat status {};
  if (file.fd < 0 || ::fstat(file.fd, &status) != 0) {
    throw Error(ErrorKind::usage, fmt::format("{}: cannot be opened: {}; check the path", path,
                                              std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorKind::usage, path + ": is not a regular file; give the path of a model file");
  }
  if (status.st_size == 0) return mapping;
  mapping.data_ = map(size_t(status.st_size), PROT_READ, MAP_SHARED, file.fd);
  if (!mapping.data_) {
    throw Error(ErrorKind::usage,
                fmt::format("{}: cannot be mapped: {}", path, std::strerror(errno)));
  }
  mapping.bytes_ = size_t(status.st_size);
  return mapping;
}

void Mapping::release() noexcept {
  if (data_) ::munmap(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
}

}  // namespace unroll
