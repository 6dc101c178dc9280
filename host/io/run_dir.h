// The run directory: where each file of a run is, and which file a MODEL argument means.
#pragma once

#include <string>

namespace unroll {

struct RunDir {
  std::string path;

  std::string model() const { return path + "/model.safetensors"; }  // best on validation
  std::string ngram() const { return path + "/model.ngram"; }        // n-gram model
  std::string state() const { return path + "/state.safetensors"; }  // latest, to resume
  std::string config() const { return path + "/config.toml"; }
  std::string log() const { return path + "/log.jsonl"; }
  std::string plot() const { return path + "/plot.svg"; }
  std::string samples() const { return path + "/samples.txt"; }
  std::string tensorboard() const { return path + "/tb"; }

  // Makes the folder. Throws Error(usage) if it already holds a run, Error(disk) if it cannot be
  // made.
  static RunDir create(const std::string& path);
  // A folder with a state to resume. Throws Error(usage) that says what is missing.
  static RunDir open(const std::string& path);
};

// Keeps other processes from training in a run directory, until it goes or the process ends.
class RunLock {
 public:
  // Throws Error(usage) where another process has it. A file system without locks keeps nobody off.
  explicit RunLock(const RunDir& run);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int fd_;
};

// The file that a MODEL argument means: a .safetensors or n-gram file itself, or the model of a run
// directory. Throws Error(usage) with path, errno text and fix.
std::string resolve_model(const std::string& argument);

}  // namespace unroll
