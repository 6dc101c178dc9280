// Durations, byte counts, numbers and near names.
#include "host/io/parse.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace unroll {
namespace {

// Edit distance in which a swap of neighbours counts one (optimal string alignment).
int edit_distance(std::string_view a, std::string_view b) {
  std::vector<int> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = int(j);
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = int(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

template <class T>
std::optional<T> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

}  // namespace

std::optional<int64_t> parse_integer(std::string_view text) { return parse_number<int64_t>(text); }

std::optional<double> parse_real(std::string_view text) { return parse_number<double>(text); }

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  // More than a third of the letters wrong is another word, not a typing error.
  int best = std::max(1, int(word.size()) / 3) + 1;
  std::string name;
  for (const std::string& candidate : candidates) {
    const int distance = edit_distance(word, candidate);
    if (distance < best) {
      best = distance;
      name = candidate;
    }
  }
  return name;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string name = nearest_name(word, candidates);
  return name.empty() ? "" : ", did you mean '" + name + "'?";
}

std::optional<double> parse_duration(std::string_view text) {
  if (const auto seconds = parse_real(text))
    return *seconds >= 0 && std::isfinite(*seconds) ? seconds : std::nullopt;
  double total = 0;
  double last_unit = std::numeric_limits<double>::infinity();
  while (!text.empty()) {
    const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
    const auto value = parse_real(text.substr(0, digits));
    if (!value || digits == text.size()) return {};
    const char letter = text[digits];
    const double unit = letter == 's'   ? 1
                        : letter == 'm' ? 60
                        : letter == 'h' ? 3600
                        : letter == 'd' ? 86400
                                        : 0;
    if (unit == 0 || unit >= last_unit) return {};  // "1m2h" is a slip
    total += *value * unit;
    last_unit = unit;
    text.remove_prefix(digits + 1);
  }
  return std::isinf(last_unit) ? std::nullopt : std::optional(total);
}

std::optional<int64_t> parse_bytes(std::string_view text) {
  int shift = 0;
  for (const char* suffix : {"iB", "B"})
    if (text.ends_with(suffix)) {
      text.remove_suffix(std::string_view(suffix).size());
      break;
    }
  if (!text.empty()) {
    const size_t at = std::string_view("KMGT").find(char(text.back() & ~0x20));
    if (at != std::string_view::npos) {
      shift = 10 * int(at + 1);
      text.remove_suffix(1);
    }
  }
  const auto value = parse_real(text);
  if (!value || !(*value >= 0)) return {};
  const double bytes = std::ldexp(*value, shift);
  if (bytes > 9e18) return {};
  return int64_t(bytes);
}

}  // namespace unroll
