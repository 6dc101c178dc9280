// Every rule of the safetensors format, broken once: the message names the file and the rule.
#include <cstring>

#include "host/io/atomic_file.h"
#include "host/io/safetensors.h"
#include "tests/host/io/io_testing.h"

namespace unroll {
namespace {

using test::error_of;
using test::expect_contains;
using test::TempDir;

std::string file_bytes(const std::string& header, const std::string& data) {
  const uint64_t n = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &n, 8);
  return bytes + header + data;
}

std::string entry(const char* name, const char* dtype, const char* shape, int begin, int end) {
  return std::string("\"") + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":[" + std::to_string(begin) + "," + std::to_string(end) + "]}";
}

struct Broken {
  const char* name;
  std::string bytes;
  const char* rule;
};

void PrintTo(const Broken& b, std::ostream* os) { *os << b.name; }

std::vector<Broken> broken_files() {
  const std::string a = entry("a", "F32", "[2]", 0, 8);
  const std::string data(16, 'x');
  const std::string eight = data.substr(0, 8);
  auto one = [&](const std::string& body) { return file_bytes("{" + body + "}", eight); };
  std::string huge = file_bytes("{}", "");
  huge[4] = 1;
  return {
      {"empty", "", "it has 0 bytes, and the length of the header alone takes 8"},
      {"short", "1234567", "it has 7 bytes"},
      {"huge_header", huge, "above the limit of 100000000"},
      {"header_beyond_file", file_bytes("{" + a + "}", "").substr(0, 30),
       "truncated: the header needs"},
      {"no_header", file_bytes("", ""), "does not begin with '{'"},
      {"leading_space", file_bytes(" {}", ""), "does not begin with '{'"},
      {"bad_json", file_bytes("{\"a\":", ""), "the header is not JSON in UTF-8"},
      {"text_after_json", file_bytes("{} x", ""), "the header is not JSON in UTF-8"},
      {"bad_utf8", file_bytes("{\"\xff\":1}", ""), "the header is not JSON in UTF-8"},
      {"duplicate", file_bytes("{" + a + "," + a + "}", eight), "the key 'a' appears twice"},
      {"duplicate_inside",
       one("\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],"
           "\"data_offsets\":[0,8]}"),
       "the key 'dtype' appears twice"},
      {"metadata_list", one("\"__metadata__\":[]," + a), "__metadata__ must map text to text"},
      {"metadata_number", one("\"__metadata__\":{\"step\":5}," + a),
       "text to text, 'step' does not"},
      {"no_dtype", one("\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}"), "tensor 'a' needs dtype"},
      {"no_shape", one("\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}"),
       "tensor 'a' needs dtype"},
      {"one_offset", one("\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]}"),
       "tensor 'a' needs dtype"},
      {"not_an_object", one("\"a\":3"), "tensor 'a' needs dtype"},
      {"unknown_dtype", one(entry("a", "F4", "[2]", 0, 8)), "unknown dtype 'F4'"},
      {"negative_extent", one(entry("a", "F32", "[-2]", 0, 8)), "extents must be non-negative"},
      {"fraction_extent", one(entry("a", "F32", "[2.0]", 0, 8)), "extents must be non-negative"},
      {"negative_offset", one(entry("a", "F32", "[2]", -8, 0)),
       "data_offsets must be non-negative"},
      {"extent_overflow", one(entry("a", "F32", "[4294967296,4294967296]", 0, 8)), "overflows"},
      {"end_before_begin", one(entry("a", "F32", "[2]", 8, 0)),
       "ends at byte 0, before it begins at 8"},
      {"wrong_span", one(entry("a", "F32", "[3]", 0, 8)),
       "F32[3] needs 12 bytes, its data_offsets span 8"},
      {"first_not_zero",
       file_bytes("{" + entry("a", "F32", "[2]", 4, 12) + "}", data.substr(0, 12)),
       "begins at byte 4, leaving a hole after byte 0"},
      {"hole", file_bytes("{" + a + "," + entry("b", "U8", "[4]", 12, 16) + "}", data),
       "tensor 'b' begins at byte 12, leaving a hole after byte 8"},
      {"overlap",
       file_bytes("{" + a + "," + entry("b", "U8", "[4]", 6, 10) + "}", data.substr(0, 10)),
       "tensor 'b' begins at byte 6, overlapping what ends at byte 8"},
      {"truncated", file_bytes("{" + a + "}", "1234"),
       "truncated: the tensors need 8 bytes of data, the file has 4"},
      {"trailing", file_bytes("{" + a + "}", data), "8 bytes follow the last tensor"},
      {"trailing_without_tensors", file_bytes("{}", "x"), "1 bytes follow the last tensor"},
  };
}

class SafetensorsRule : public ::testing::TestWithParam<Broken> {};

TEST_P(SafetensorsRule, IsNamed) {
  const TempDir dir;
  const std::string path = dir / "model.safetensors";
  write_file(path, GetParam().bytes);
  const std::string message = error_of(ErrorKind::model, [&] { SafetensorsFile::open(path); });
  expect_contains(message, path + ": not a valid safetensors file: ");
  expect_contains(message, GetParam().rule);
}

INSTANTIATE_TEST_SUITE_P(Files, SafetensorsRule, ::testing::ValuesIn(broken_files()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(SafetensorsRules, CutAnywhereIsRefused) {
  const TempDir dir;
  const double x[3] = {1, 2, 3};
  write_safetensors(dir / "whole", {{"a", "F64", {3}, x}, {"b", "F32", {}, x}}, {{"k", "v"}});
  const std::string bytes = read_file(dir / "whole");
  for (size_t n = 0; n < bytes.size(); ++n) {
    write_file(dir / "cut", bytes.substr(0, n));
    error_of(ErrorKind::model, [&] { SafetensorsFile::open(dir / "cut"); });
  }
}

TEST(SafetensorsRules, ValidOddities) {
  const TempDir dir;
  write_file(dir / "none", file_bytes("{}", ""));
  EXPECT_TRUE(SafetensorsFile::open(dir / "none").tensors().empty());
  // Padding by spaces, a scalar, an empty tensor between two others, unaligned data.
  write_file(dir / "odd",
             file_bytes("{" + entry("s", "U8", "[]", 0, 1) + "," + entry("e", "F64", "[0]", 1, 1) +
                            "," + entry("f", "F32", "[1]", 1, 5) + "}   ",
                        std::string("\x07\x00\x00\x80\x3f", 5)));
  const SafetensorsFile odd = SafetensorsFile::open(dir / "odd");
  EXPECT_EQ(odd.tensor("s").count(), 1);
  EXPECT_EQ(odd.read<float>("f"), std::vector<float>{1});
}

TEST(SafetensorsRules, FilesThatCannotBeOpened) {
  const TempDir dir;
  expect_contains(error_of(ErrorKind::usage, [&] { SafetensorsFile::open(dir / "none"); }),
                  dir / "none" + ": cannot be opened: No such file or directory");
  expect_contains(error_of(ErrorKind::usage, [&] { SafetensorsFile::open(dir.path()); }),
                  "it is a folder");
  expect_contains(error_of(ErrorKind::usage, [&] { SafetensorsFile::open("/dev/null"); }),
                  "not a regular file");
}

}  // namespace
}  // namespace unroll
