// Per-token probabilities as 32-bit floats or as text.
#include "host/mix/probability_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <limits>

#include "host/io/atomic_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

static_assert(std::endian::native == std::endian::little, "the file format is little-endian");

bool is_text(const std::string& path) { return path.ends_with(".txt"); }

bool is_probability(double p) { return p >= 0 && p <= 1 + 1e-4; }

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::data,
              fmt::format("{}: {}; write the probabilities of this very text again", where, what));
}

std::vector<double> read_text(const std::string& path, const std::string& text) {
  std::vector<double> p;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const char* last = text.data() + end;
    if (end > at && last[-1] == '\r') --last;
    double value = -1;
    const auto result = std::from_chars(text.data() + at, last, value);
    if (result.ec != std::errc() || result.ptr != last || !is_probability(value)) {
      fail(fmt::format("{}:{}", path, p.size() + 1),
           fmt::format("expected one probability in [0, 1], found '{}'",
                       text.substr(at, std::min<size_t>(end - at, 80))));
    }
    p.push_back(value);
    at = end + 1;
  }
  return p;
}

std::vector<double> read_floats(const std::string& path, const std::string& bytes) {
  if (bytes.size() % sizeof(float) != 0) {
    fail(fmt::format("{}: byte offset {}", path, bytes.size()),
         "the file ends inside a 32-bit float");
  }
  std::vector<double> p;
  p.reserve(bytes.size() / sizeof(float));
  for (size_t at = 0; at < bytes.size(); at += sizeof(float)) {
    float value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    if (!is_probability(value)) {
      fail(fmt::format("{}: byte offset {}", path, at),
           fmt::format("{} is no probability in [0, 1]", value));
    }
    p.push_back(value);
  }
  return p;
}

}  // namespace

void write_probabilities(const std::string& path, std::span<const double> p) {
  std::string content;
  for (const double value : p) {
    const float smallest = value > 0 ? std::numeric_limits<float>::min() : 0;
    const float rounded = std::max(float(value), smallest);
    if (is_text(path)) {
      content += fmt::format("{}\n", rounded);
    } else {
      content.append(reinterpret_cast<const char*>(&rounded), sizeof rounded);
    }
  }
  write_file(path, content);
}

std::vector<double> read_probabilities(const std::string& path) {
  const std::string content = read_file(path);
  return is_text(path) ? read_text(path, content) : read_floats(path, content);
}

std::vector<double> read_probabilities(const std::string& path, uint64_t tokens) {
  std::vector<double> p = read_probabilities(path);
  if (p.size() != tokens) {
    fail(path, fmt::format("holds {} probabilities, the text has {} tokens", p.size(), tokens));
  }
  return p;
}

}  // namespace unroll
