// TensorBoard events: CRC-32C against RFC 3720, record framing, protobuf fields byte by byte.
#include "host/io/tensorboard.h"

#include <algorithm>
#include <cstring>

#include "host/io/atomic_file.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::TempDir;

TEST(Crc32c, Rfc3720Vectors) {
  EXPECT_EQ(crc32c("123456789", 9), 0xe3069283u);
  unsigned char bytes[32];
  std::memset(bytes, 0, 32);
  EXPECT_EQ(crc32c(bytes, 32), 0x8a9136aau);
  std::memset(bytes, 0xff, 32);
  EXPECT_EQ(crc32c(bytes, 32), 0x62a8ab43u);
  for (int i = 0; i < 32; ++i) bytes[i] = static_cast<unsigned char>(i);
  EXPECT_EQ(crc32c(bytes, 32), 0x46dd794eu);
  EXPECT_EQ(crc32c(bytes, 0), 0u);
  // rotr(0xe3069283, 15) = 0x2507c60d, plus 0xa282ead8
  EXPECT_EQ(masked_crc32c("123456789", 9), 0x2507c60du + 0xa282ead8u);
}

// The payloads of a file whose framing is checked on the way.
std::vector<std::string> payloads(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<std::string> out;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t length;
    uint32_t crc;
    std::memcpy(&length, &bytes[at], 8);
    std::memcpy(&crc, &bytes[at + 8], 4);
    EXPECT_EQ(crc, masked_crc32c(&bytes[at], 8));
    const std::string payload = bytes.substr(at + 12, length);
    EXPECT_EQ(payload.size(), length);
    std::memcpy(&crc, &bytes[at + 12 + length], 4);
    EXPECT_EQ(crc, masked_crc32c(payload.data(), payload.size()));
    out.push_back(payload);
    at += 16 + length;
  }
  return out;
}

// The fields after the wall time, which is the first of every event.
std::string after_time(const std::string& payload) {
  EXPECT_EQ(payload[0], 0x09);
  double time;
  std::memcpy(&time, &payload[1], 8);
  EXPECT_GT(time, 1.6e9);
  return payload.substr(9);
}

TEST(EventWriter, ScalarsAndVersion) {
  const TempDir dir;
  EventWriter events(dir / "tb");
  events.scalar("train/loss", 2.5, 300);
  const std::vector<std::string> p = payloads(events.path());
  ASSERT_EQ(p.size(), 2u);
  EXPECT_EQ(after_time(p[0]), std::string("\x10\x00\x1a\x0d"
                                          "brain.Event:2",
                                          17));
  // step = 300 as a varint, summary { value { tag, simple_value = 2.5f } }
  EXPECT_EQ(after_time(p[1]), std::string("\x10\xac\x02\x2a\x13\x0a\x11\x0a\x0a"
                                          "train/loss"
                                          "\x15\x00\x00\x20\x40",
                                          24));
}

TEST(EventWriter, ResumeStartsANewFileAfterTheOldOne) {
  const TempDir dir;
  std::vector<std::string> paths;
  for (int64_t after : {int64_t(-1), int64_t(40), int64_t(40)})
    paths.push_back(EventWriter(dir / "tb", after).path());
  EXPECT_TRUE(std::is_sorted(paths.begin(), paths.end()));
  EXPECT_EQ(std::unique(paths.begin(), paths.end()), paths.end());
  EXPECT_EQ(payloads(paths[0]).size(), 1u);
  const std::vector<std::string> p = payloads(paths[1]);
  ASSERT_EQ(p.size(), 2u);
  // step = 41, session_log { status = START }
  EXPECT_EQ(after_time(p[1]), std::string("\x10\x29\x3a\x02\x08\x01", 6));
}

TEST(EventWriter, FolderThatCannotBeMade) {
  const TempDir dir;
  write_file(dir / "tb", "a file");
  test::expect_contains(test::error_of(ErrorKind::disk, [&] { EventWriter(dir / "tb/x"); }),
                        "cannot be written");
}

}  // namespace
}  // namespace unroll
