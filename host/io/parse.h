// Small readers of text that settings, flags and messages share: durations, byte counts, near
// names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace unroll {

// The candidate at the smallest edit distance, "" if none is near enough to be a typing error.
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

// ", did you mean X?" or "".
std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates);

// Seconds of "90s", "10m", "8h", "30d", "1h30m" or a plain number of seconds.
std::optional<double> parse_duration(std::string_view text);

// Bytes of "256M", "2G", "64K", "64KiB" or a plain number (powers of 1024).
std::optional<int64_t> parse_bytes(std::string_view text);

// The whole of `text` as a number; nothing if any of it is left over or it overflows.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_real(std::string_view text);

}  // namespace unroll
