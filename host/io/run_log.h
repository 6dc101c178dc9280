// log.jsonl of a run: one JSON object per line. Every line has "kind", and those of a neural run
// "step". The learning curve reads kind "train" and "valid", their "step" and their
// "loss" (nats per token).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace unroll {

using LogValue = std::variant<bool, int64_t, double, std::string>;

// One line, in the order in which its fields are written.
struct LogRecord {
  std::vector<std::pair<std::string, LogValue>> fields;

  // The type of the value is the type in the log: no conversions between numbers.
  template <class T>
  LogRecord& add(std::string key, const T& value) {
    if constexpr (std::is_same_v<T, bool> || std::is_same_v<T, double>)
      fields.emplace_back(std::move(key), LogValue(value));
    else if constexpr (std::is_integral_v<T>)
      fields.emplace_back(std::move(key), LogValue(int64_t(value)));
    else
      fields.emplace_back(std::move(key), LogValue(std::string(value)));
    return *this;
  }
  const LogValue* find(std::string_view key) const;
  double number(std::string_view key) const;     // NaN if absent or not a number
  std::string text(std::string_view key) const;  // "" if absent or not text

  std::string json() const;  // doubles round-trip exactly; NaN and infinities become null
};

class RunLog {
 public:
  // Opens for appending. Throws Error(disk).
  explicit RunLog(std::string path);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  // Appends one line with a single write, so that a kill leaves at most one torn last line.
  void append(const LogRecord& record);

  // Waits until the lines are on the disk; before a state that assumes them. Throws Error(disk).
  void sync();

  // Cuts the log before the first line whose "step" is beyond `step`, or that closes a run (kind
  // "end"). A torn last line is dropped. No file is no error. Throws Error(disk), or Error(data)
  // with file:line for a line in the middle that is not JSON.
  static void truncate_to_step(const std::string& path, int64_t step);

  // All lines but a torn last one; null and nested values are left out. Throws Error(usage),
  // Error(data).
  static std::vector<LogRecord> read(const std::string& path);

 private:
  std::string path_;
  int fd_ = -1;
};

}  // namespace unroll
