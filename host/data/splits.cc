// Finding the splits of a folder; copying pipes to files.
#include "host/data/splits.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "host/data/corpus.h"
#include "host/data/text_source.h"
#include "kernels/base/error.h"

namespace unroll {

std::vector<std::string> spool_standard_input(std::vector<std::string> paths,
                                              const std::string& flag,
                                              const std::string& spool_path) {
  int number = 0;
  for (std::string& path : paths) {
    if (path != "-" && S_ISREG(check_readable(path, flag))) continue;
    const int in = path == "-" ? dup(STDIN_FILENO) : open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (in < 0) fail_reading(path, flag, errno);
    const std::string copy = fmt::format("{}.{}", spool_path, number++);
    const int out = open(copy.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int write_error = out < 0 ? errno : 0, read_error = 0;
    std::vector<char> buffer(1 << 20);
    ssize_t got = 0;
    while (write_error == 0 && (got = read(in, buffer.data(), buffer.size())) != 0) {
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) {
        read_error = errno;
        break;
      }
      for (ssize_t done = 0; done < got && write_error == 0;) {
        const ssize_t n = write(out, buffer.data() + done, static_cast<size_t>(got - done));
        if (n >= 0)
          done += n;
        else if (errno != EINTR)
          write_error = errno;
      }
    }
    close(in);
    if (out >= 0 && close(out) != 0 && write_error == 0) write_error = errno;
    if (read_error != 0) fail_reading(path, flag, read_error);
    if (write_error != 0) {
      throw Error(ErrorKind::disk, fmt::format("cannot write '{}', the copy of what {} reads: {}",
                                               copy, flag, std::strerror(write_error)));
    }
    path = copy;
  }
  return paths;
}

Splits find_splits(const std::string& dir) {
  constexpr const char* kInstead = "name the files with --train, --valid and --test instead";
  namespace fs = std::filesystem;
  std::error_code failure;
  std::vector<std::string> names;
  for (fs::directory_iterator i(dir, failure), end; !failure && i != end; i.increment(failure)) {
    const std::string name = i->path().filename().string();
    if (name.starts_with('.') || name.find(kTokenFileSuffix) != std::string::npos) continue;
    std::error_code unknown;
    if (i->is_regular_file(unknown)) names.push_back(name);
  }
  if (failure) {
    throw Error(ErrorKind::usage, fmt::format("cannot read the folder '{}' (from --data): {}; {}",
                                              dir, failure.message(), kInstead));
  }
  std::sort(names.begin(), names.end());
  const auto pick = [&](const std::vector<std::string>& words, bool needed) {
    std::string found;
    for (const std::string& name : names) {
      std::string lower = name;
      for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      if (std::none_of(words.begin(), words.end(), [&](const std::string& word) {
            return lower.find(word) != std::string::npos;
          })) {
        continue;
      }
      if (!found.empty()) {
        throw Error(ErrorKind::usage,
                    fmt::format("--data {}: both '{}' and '{}' look like the {} text; {}", dir,
                                found, name, words[0], kInstead));
      }
      found = name;
    }
    if (found.empty() && needed) {
      std::string listed;
      for (size_t i = 0; i < names.size() && i < 10; ++i)
        listed += (i ? ", '" : "'") + names[i] + "'";
      throw Error(ErrorKind::usage,
                  fmt::format("--data {}: no file with '{}' in its name; found {}; {}", dir,
                              words.size() > 1 ? words[0] + "' or '" + words[1] : words[0],
                              names.empty() ? "no file" : listed, kInstead));
    }
    return found.empty() ? found : (fs::path(dir) / found).string();
  };
  return {pick({"train"}, true), pick({"valid", "dev"}, true), pick({"test"}, false)};
}

}  // namespace unroll
