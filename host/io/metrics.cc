// Perplexity, bits, and numbers as short text.
#include "host/io/metrics.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace unroll {
namespace {

// Three or four significant digits: 8.25, 82.5, 310.
std::string short_number(double x) {
  return x < 9.995 ? fmt::format("{:.2f}", x)
                   : (x < 99.95 ? fmt::format("{:.1f}", x) : fmt::format("{:.0f}", x));
}

}  // namespace

double perplexity(double nats, int64_t tokens) {
  return tokens > 0 ? std::exp(nats / double(tokens)) : std::numeric_limits<double>::quiet_NaN();
}

double bits_per_unit(double nats, int64_t units) {
  return units > 0 ? nats / (double(units) * std::numbers::ln2)
                   : std::numeric_limits<double>::quiet_NaN();
}

std::string human_count(double n) {
  if (n < 999.5) return fmt::format("{:.0f}", n);
  for (const char* suffix : {"k", "M", "G"}) {
    n /= 1000;
    if (n < 999.5) return short_number(n) + suffix;
  }
  return short_number(n / 1000) + "T";
}

std::string human_bytes(double bytes) {
  if (bytes < 1024) return fmt::format("{:.0f} B", bytes);
  for (const char* suffix : {" KiB", " MiB", " GiB"}) {
    bytes /= 1024;
    if (bytes < 1023.5) return short_number(bytes) + suffix;
  }
  return short_number(bytes / 1024) + " TiB";
}

std::string human_duration(double seconds) {
  if (!(seconds >= 0) || seconds > 1e10) return "?";
  const int64_t s = std::llround(seconds);
  const int64_t days = s / 86400, hours = s / 3600 % 24, minutes = s / 60 % 60;
  if (days > 0) return fmt::format("{}d {:02}:{:02}", days, hours, minutes);
  if (hours > 0) return fmt::format("{}:{:02}:{:02}", hours, minutes, s % 60);
  return fmt::format("{:02}:{:02}", minutes, s % 60);
}

std::string human_perplexity(double ppl) {
  if (!std::isfinite(ppl)) return std::isnan(ppl) ? "nan" : "inf";
  if (ppl < 1000) return fmt::format("{:.2f}", ppl);
  return ppl < 1e6 ? fmt::format("{:.0f}", ppl) : fmt::format("{:.1e}", ppl);
}

std::string with_commas(int64_t n) {
  std::string digits = std::to_string(n);
  for (int at = int(digits.size()) - 3; at > (n < 0 ? 1 : 0); at -= 3)
    digits.insert(size_t(at), ",");
  return digits;
}

}  // namespace unroll
