// Making, opening and resolving run directories.
#include "host/io/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "kernels/base/error.h"

namespace unroll {
namespace {

namespace fs = std::filesystem;

fs::file_status status_or_throw(const std::string& path, const std::string& fix) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    throw Error(ErrorKind::usage, path + ": cannot be opened: " +
                                      (error ? error.message() : "No such file or directory") +
                                      "; " + fix);
  return status;
}

// Throws for a folder that may not be looked into; one that lacks `path` is fine.
bool exists(const std::string& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error)
    throw Error(ErrorKind::usage, path + ": cannot be opened: " + error.message() +
                                      "; choose a folder that you may read");
  return found;
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

RunDir RunDir::create(const std::string& path) {
  const RunDir run{without_slash(path)};
  if (exists(run.state()) || exists(run.model()) || exists(run.ngram()) || exists(run.log()))
    throw Error(ErrorKind::usage, run.path + ": already holds a run; continue it with --resume " +
                                      run.path + ", or choose another --out");
  std::error_code error;
  fs::create_directories(run.path, error);
  if (error)
    throw Error(ErrorKind::disk, run.path + ": cannot be made: " + error.message() +
                                     "; choose an --out folder that you may write to");
  return run;
}

RunDir RunDir::open(const std::string& path) {
  const RunDir run{without_slash(path)};
  const std::string fix = "--resume takes the --out folder of an earlier `unroll train`";
  if (!fs::is_directory(status_or_throw(run.path, fix)))
    throw Error(ErrorKind::usage, run.path + ": is not a folder; " + fix);
  if (!exists(run.state()))
    throw Error(ErrorKind::usage,
                run.path + ": has no state.safetensors to resume from" +
                    (exists(run.model())   ? "; its weights alone: --init-from " + run.model()
                     : exists(run.ngram()) ? "; an n-gram model is trained in one go"
                                           : "; " + fix));
  return run;
}

RunLock::RunLock(const RunDir& run)
    : fd_(::open(run.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (fd_ < 0 || ::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(fd_);
  throw Error(ErrorKind::usage, run.path +
                                    ": another process trains in it; wait for its end, or "
                                    "stop it");
}

RunLock::~RunLock() {
  if (fd_ >= 0) ::close(fd_);
}

std::string resolve_model(const std::string& argument) {
  const fs::file_status status =
      status_or_throw(argument, "MODEL is a run directory, a .safetensors file or an n-gram model");
  if (!fs::is_directory(status)) return argument;
  const RunDir run{without_slash(argument)};
  if (exists(run.model())) return run.model();
  if (exists(run.ngram())) return run.ngram();
  throw Error(
      ErrorKind::usage,
      run.path + ": has no model.safetensors" +
          (exists(run.state())
               ? "; it is written after the first validation, continue with --resume " + run.path
               : "; MODEL is a run directory, a .safetensors file or an n-gram model"));
}

}  // namespace unroll
