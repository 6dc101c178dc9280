// Event files: TFRecord framing and hand-written protobuf.
#include "host/io/tensorboard.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "kernels/base/error.h"

namespace unroll {
namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82f63b78u : 0u);
    table[i] = c;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrc = crc_table();

template <class T>
void append_raw(std::string& out, T x) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &x, sizeof(T));
  out.append(bytes, sizeof(T));
}

void append_varint(std::string& out, uint64_t x) {
  for (; x >= 0x80; x >>= 7) out += char(0x80 | (x & 0x7f));
  out += char(x);
}

// Protobuf fields: number and wire type share the first byte for numbers below 16.
void put_varint(std::string& out, int field, uint64_t x) {
  out += char(field << 3 | 0);
  append_varint(out, x);
}
void put_double(std::string& out, int field, double x) {
  out += char(field << 3 | 1);
  append_raw(out, x);
}
void put_float(std::string& out, int field, float x) {
  out += char(field << 3 | 5);
  append_raw(out, x);
}
void put_bytes(std::string& out, int field, std::string_view bytes) {
  out += char(field << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

// tensorflow.Event {1: wall_time, 2: step, 3: file_version, 5: summary, 7: session_log}.
std::string event(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string out;
  put_double(out, 1, std::chrono::duration<double>(now).count());
  put_varint(out, 2, uint64_t(step));
  return out;
}

[[noreturn]] void disk_error(const std::string& path, const std::string& why) {
  throw Error(ErrorKind::disk, path + ": cannot be written: " + why +
                                   "; free some space or choose another --out folder");
}

}  // namespace

uint32_t crc32c(const void* data, size_t bytes) {
  const auto* p = static_cast<const unsigned char*>(data);
  uint32_t c = 0xffffffffu;
  for (size_t i = 0; i < bytes; ++i) c = kCrc[(c ^ p[i]) & 0xff] ^ (c >> 8);
  return ~c;
}

uint32_t masked_crc32c(const void* data, size_t bytes) {
  return std::rotr(crc32c(data, bytes), 15) + 0xa282ead8u;
}

EventWriter::EventWriter(const std::string& folder, int64_t resumed_after) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) disk_error(folder, error.message());
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  // TensorBoard reads the files of a folder in the order of their names, the time first: two
  // sessions begun in the same second must not share one.
  int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(
                        std::chrono::system_clock::now().time_since_epoch())
                        .count();
  do {
    path_ = fmt::format("{}/events.out.tfevents.{:010}.{}", folder, seconds++, host);
    fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) disk_error(path_, std::strerror(errno));

  std::string version = event(0);
  put_bytes(version, 3, "brain.Event:2");
  record(version);
  if (resumed_after >= 0) {
    // SessionLog {1: status = START}: what earlier files hold from this step on is orphaned.
    std::string start = event(resumed_after + 1), log;
    put_varint(log, 1, 1);
    put_bytes(start, 7, log);
    record(start);
  }
}

EventWriter::~EventWriter() {
  if (fd_ >= 0) ::close(fd_);
}

void EventWriter::scalar(std::string_view tag, double value, int64_t step) {
  // Summary {1: Value {1: tag, 2: simple_value}}.
  std::string v, summary, e = event(step);
  put_bytes(v, 1, tag);
  put_float(v, 2, float(value));
  put_bytes(summary, 1, v);
  put_bytes(e, 5, summary);
  record(e);
}

void EventWriter::record(const std::string& payload) {
  const uint64_t length = payload.size();
  std::string framed;
  append_raw(framed, length);
  append_raw(framed, masked_crc32c(&length, sizeof length));
  framed += payload;
  append_raw(framed, masked_crc32c(payload.data(), payload.size()));
  ssize_t n;
  do {
    n = ::write(fd_, framed.data(), framed.size());
  } while (n < 0 && errno == EINTR);
  if (n != ssize_t(framed.size())) disk_error(path_, std::strerror(n < 0 ? errno : ENOSPC));
}

}  // namespace unroll
