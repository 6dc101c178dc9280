// Appending to, cutting and reading log.jsonl.
#include "host/io/run_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "host/io/atomic_file.h"
#include "kernels/base/error.h"

namespace unroll {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void disk_error(const std::string& path, const char* what) {
  throw Error(ErrorKind::disk, path + ": cannot " + what + ": " + std::strerror(errno) +
                                   "; free some space or choose another --out folder");
}

struct Line {
  size_t begin, end;  // in the text; `end` is after the newline
  Json json;
};

// The lines of a log. A kill can only tear the last one: it lacks its newline or is not JSON.
std::vector<Line> parse_lines(const std::string& path, const std::string& text) {
  std::vector<Line> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t newline = text.find('\n', begin);
    if (newline == std::string::npos) break;
    const size_t end = newline + 1;
    Json json =
        Json::parse(text.begin() + long(begin), text.begin() + long(newline), nullptr, false);
    if (!json.is_object()) {
      if (end == text.size()) break;
      throw Error(ErrorKind::data, path + ":" + std::to_string(lines.size() + 1) +
                                       ": not a JSON object: " +
                                       text.substr(begin, std::min<size_t>(newline - begin, 80)) +
                                       "; remove the line");
    }
    lines.push_back({begin, end, std::move(json)});
    begin = end;
  }
  return lines;
}

}  // namespace

const LogValue* LogRecord::find(std::string_view key) const {
  for (const auto& [name, value] : fields)
    if (name == key) return &value;
  return nullptr;
}

double LogRecord::number(std::string_view key) const {
  const LogValue* value = find(key);
  if (value && std::holds_alternative<int64_t>(*value)) return double(std::get<int64_t>(*value));
  if (value && std::holds_alternative<double>(*value)) return std::get<double>(*value);
  return std::numeric_limits<double>::quiet_NaN();
}

std::string LogRecord::text(std::string_view key) const {
  const LogValue* value = find(key);
  return value && std::holds_alternative<std::string>(*value) ? std::get<std::string>(*value) : "";
}

std::string LogRecord::json() const {
  Json json = Json::object();
  for (const auto& [name, value] : fields)
    std::visit([&, &name = name](const auto& v) { json[name] = v; }, value);
  // Sample text or paths may hold bytes that are not UTF-8; a log line must not fail for it.
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

RunLog::RunLog(std::string path) : path_(std::move(path)) {
  fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) disk_error(path_, "be opened for appending");
}

RunLog::~RunLog() {
  if (fd_ >= 0) ::close(fd_);
}

void RunLog::append(const LogRecord& record) {
  const std::string line = record.json() + "\n";
  ssize_t n;
  do {
    n = ::write(fd_, line.data(), line.size());
  } while (n < 0 && errno == EINTR);
  if (n >= 0 && size_t(n) < line.size()) errno = ENOSPC;
  if (n != ssize_t(line.size())) disk_error(path_, "be written");
}

void RunLog::sync() {
  if (::fsync(fd_) != 0) disk_error(path_, "be flushed");
}

void RunLog::truncate_to_step(const std::string& path, int64_t step) {
  if (::access(path.c_str(), F_OK) != 0) return;
  const std::string text = read_file(path);
  size_t end = 0;
  for (const Line& line : parse_lines(path, text)) {
    const auto at = line.json.find("step");
    if (at != line.json.end() && at->is_number() && at->get<double>() > double(step)) break;
    if (line.json.value("kind", "") == "end") break;  // what comes now goes on beyond it
    end = line.end;
  }
  if (end < text.size()) write_file(path, std::string_view(text).substr(0, end));
}

std::vector<LogRecord> RunLog::read(const std::string& path) {
  const std::string text = read_file(path);
  std::vector<LogRecord> records;
  for (const Line& line : parse_lines(path, text)) {
    LogRecord& record = records.emplace_back();
    for (const auto& [name, value] : line.json.items()) {
      if (value.is_boolean()) record.add(name, value.get<bool>());
      if (value.is_number_integer()) record.add(name, value.get<int64_t>());
      if (value.is_number_float()) record.add(name, value.get<double>());
      if (value.is_string()) record.add(name, value.get<std::string>());
    }
  }
  return records;
}

}  // namespace unroll
