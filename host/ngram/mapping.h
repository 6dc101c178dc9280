// A block of memory from the system: anonymous, backed by a temporary file, or a file read in
// place.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

namespace unroll {

class Mapping {
 public:
  Mapping() = default;
  // `bytes` zero bytes in memory. Throws Error(resource).
  static Mapping anonymous(size_t bytes);
  // `bytes` zero bytes of a nameless file in `folder`, so that the system may write them out when
  // memory is short. Throws Error(disk).
  static Mapping temporary_file(size_t bytes, const std::string& folder);
  // The content of a file, read only. Throws Error(usage) with path and errno text.
  static Mapping read(const std::string& path);

  ~Mapping() { release(); }
  Mapping(Mapping&& other) noexcept { *this = std::move(other); }
  Mapping& operator=(Mapping&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void release() noexcept;

  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace unroll
