// Making, opening and resolving run directories.
#include "host/io/run_dir.h"

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

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

RunDir RunDir::create(const std::string& path) {
  const RunDir run{without_slash(path)};
  std::error_code error;
  if (fs::exists(run.state(), error) || fs::exists(run.model(), error) ||
      fs::exists(run.ngram(), error) || fs::exists(run.log(), error))
    throw Error(ErrorKind::usage, run.path + ": already holds a run; continue it with --resume " +
                                      run.path + ", or choose another --out");
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
  std::error_code error;
  if (!fs::exists(run.state(), error))
    throw Error(
        ErrorKind::usage,
        run.path + ": has no state.safetensors to resume from" +
            (fs::exists(run.model(), error)   ? "; its weights alone: --init-from " + run.model()
             : fs::exists(run.ngram(), error) ? "; an n-gram model is trained in one go"
                                              : "; " + fix));
  return run;
}

std::string resolve_model(const std::string& argument) {
  const fs::file_status status =
      status_or_throw(argument, "MODEL is a run directory, a .safetensors file or an n-gram model");
  if (!fs::is_directory(status)) return argument;
  const RunDir run{without_slash(argument)};
  std::error_code error;
  if (fs::exists(run.model(), error)) return run.model();
  if (fs::exists(run.ngram(), error)) return run.ngram();
  throw Error(
      ErrorKind::usage,
      run.path + ": has no model.safetensors" +
          (fs::exists(run.state(), error)
               ? "; it is written after the first validation, continue with --resume " + run.path
               : "; MODEL is a run directory, a .safetensors file or an n-gram model"));
}

}  // namespace unroll
